"""Ends of an answer that neither tokens nor stop strings can tell: indentation, and time."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

_LINE_START = re.compile(r"\n\s*(?=\S)")  # after any number of empty lines
_UNDECIDED = re.compile(r"\n\s*\Z")


@dataclass(frozen=True, slots=True)
class TextBounds:
    """What an answer must keep to."""

    min_indent: int = 0  # white space that every line but the first begins with; empty lines need none
    max_time_s: float | None = None  # since the first token, once a line is complete


@dataclass(frozen=True, slots=True, repr=False)
class BoundedText:
    """What one push added to the text, and whether it ends here."""

    text: str
    ended: bool


class BoundedStream:
    """One answer's text under its bounds, however it is cut into pushes.

    A line with too little indentation ends it, and is no part of it; nor are empty lines before.
    """

    def __init__(self, bounds: TextBounds, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._bounds = bounds
        self._clock_s = clock_s
        self._started_s: float | None = None
        self._has_line = False
        self._held = ""  # the beginning of a line whose indentation is not known yet

    def push(self, text: str, *, is_last: bool) -> BoundedText:
        """Take what follows and give what is certain; nothing may follow an end."""
        pending = self._held + text
        for start in _LINE_START.finditer(pending):
            if start.end() - pending.rindex("\n", start.start(), start.end()) - 1 < self._bounds.min_indent:
                return BoundedText(pending[: start.start()], True)
        self._has_line = self._has_line or "\n" in text
        if is_last or self._is_late():
            return BoundedText(pending, True)
        undecided = _UNDECIDED.search(pending)
        num_certain = len(pending) if undecided is None else undecided.start()
        self._held = pending[num_certain:]
        return BoundedText(pending[:num_certain], False)

    def _is_late(self) -> bool:
        now_s = self._clock_s()
        self._started_s = now_s if self._started_s is None else self._started_s
        max_time_s = self._bounds.max_time_s
        return self._has_line and max_time_s is not None and now_s - self._started_s > max_time_s
