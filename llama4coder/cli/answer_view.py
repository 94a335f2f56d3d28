"""An answer on the terminal while it grows: finished Markdown blocks for good, the unfinished one live below.

Reasoning comes before it, dimmed, and line by line.
"""

import unicodedata
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.markdown import Markdown
from rich.text import Text

_FENCES = ("```", "~~~")
_DIM = "dim"


def finished_length(text: str) -> int:
    """How many characters at the start of `text` are whole Markdown blocks, which further text cannot change.

    A block ends with an empty line outside a code fence.
    """
    finished = position = 0
    fence: str | None = None
    for line in text.splitlines(keepends=True):
        position += len(line)
        marker = line.lstrip()[:3]
        if fence is None:
            fence = marker if marker in _FENCES else None
            finished = position if line == "\n" else finished
        elif marker == fence:
            fence = None
    return finished


def printable(text: str) -> str:
    """`text` without control characters: an answer must not steer the terminal."""
    return "".join(char for char in text if char in "\n\t" or unicodedata.category(char) != "Cc")


class AnswerView:
    """Shows the text it is given, in `with`; what is on the screen then stays."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._unfinished = ""
        self._thought = ""  # the line of reasoning that is not finished
        self._is_thinking = False
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> "AnswerView":
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.update(Text(), refresh=True)
        self._live.stop()
        self._end_thinking()
        self._print(self._unfinished)

    def add(self, text: str) -> None:
        """Show more of the answer."""
        if not text:
            return
        self._end_thinking()
        self._unfinished += printable(text)
        length = finished_length(self._unfinished)
        finished, self._unfinished = self._unfinished[:length], self._unfinished[length:]
        self._print(finished)
        self._live.update(Text(self._last_lines()), refresh=True)

    def think(self, text: str) -> None:
        """Show more of the reasoning."""
        if not text:
            return
        self._is_thinking = True
        *finished, self._thought = (self._thought + printable(text)).split("\n")
        for line in finished:
            self._console.print(Text(line, style=_DIM))
        self._live.update(Text(self._thought, style=_DIM), refresh=True)

    def _end_thinking(self) -> None:
        """Let an empty line stand between the reasoning and the answer."""
        if self._is_thinking:
            self._console.print(Text(f"{self._thought}\n", style=_DIM))
            self._thought, self._is_thinking = "", False

    def _print(self, block: str) -> None:
        if block.strip():
            self._console.print(Markdown(block, hyperlinks=False))
            self._console.print()

    def _last_lines(self) -> str:
        """What fits on the screen: a live display that is taller cannot be redrawn."""
        lines = self._unfinished.splitlines()
        return "\n".join(lines[-max(1, self._console.height // 2) :])
