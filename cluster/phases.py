"""What a command does, one part after the other, for whoever waits at the terminal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


class Phases:
    """Tells what goes on, and how long each part took."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last_told = ""

    @contextmanager
    def phase(self, doing: str) -> Iterator[None]:
        """Time what is done meanwhile."""
        started_s = time.monotonic()
        self.tell(doing)
        yield
        self._console.print(f"  {doing}: {time.monotonic() - started_s:.1f} s", style="dim", highlight=False)

    def tell(self, text: str) -> None:
        """One line, if it is news."""
        if text != self._last_told:
            self._last_told = text
            self._console.print(f"{text} ...", highlight=False)

    def warn(self, text: str) -> None:
        """One line that should be seen."""
        self._console.print(text, style="red")
