"""Text that arrives in pieces, for parsers that are written as if all of it were there.

A parser is a generator: it yields where it needs more text, and goes on when there is more, or none to come. What it
decides depends on the text alone, never on where that was cut, as long as it asks through these methods.
"""

import re
from collections.abc import Generator
from typing import TypeAlias, TypeVar

_Found = TypeVar("_Found")
Reading: TypeAlias = Generator[None, None, _Found]
"""A parser at work; what it returns has been found in the text."""

_SPACE = re.compile(r"\s*")


class NotACallError(Exception):
    """What looked like a call is none; its text is content."""


class UnfinishedError(NotACallError):
    """The text ends inside of what looked like a call; all the rest is content."""


class Source:
    """The text that has not been given out yet, and a place in it."""

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self.is_complete = False  # nothing more will come

    def take(self) -> str:
        """The text before the place, which leaves the source."""
        taken, self.text = self.text[: self.at], self.text[self.at :]
        self.at = 0
        return taken

    def more(self) -> Reading[bool]:
        """Wait for more text; False once there is none to come."""
        if self.is_complete:
            return False
        yield
        return True

    def next_char(self) -> Reading[str]:
        """The character at the place, which stays; empty at the end."""
        while self.at == len(self.text):
            if not (yield from self.more()):
                return ""
        return self.text[self.at]

    def skip_space(self) -> Reading[str]:
        """Move past white space; the character there, which stays, or nothing at the end."""
        while (yield from self.next_char()).isspace():
            found = _SPACE.match(self.text, self.at)
            assert found is not None
            self.at = found.end()
        return (yield from self.next_char())

    def takes(self, mark: str) -> Reading[bool]:
        """Move past `mark` if it comes next."""
        while len(self.text) - self.at < len(mark) and mark.startswith(self.text[self.at :]):
            if not (yield from self.more()):
                return False
        if not self.text.startswith(mark, self.at):
            return False
        self.at += len(mark)
        return True

    def expect(self, mark: str) -> Reading[None]:
        """Move past `mark`; `NotACallError` if anything else comes next."""
        if not (yield from self.takes(mark)):
            raise NotACallError

    def until(self, mark: str) -> Reading[str]:
        """The text before the next `mark`, and move past it; `UnfinishedError` if there is none."""
        start = searched = self.at
        while (found := self.text.find(mark, searched)) < 0:
            searched = max(start, len(self.text) - len(mark) + 1)
            if not (yield from self.more()):
                raise UnfinishedError
        self.at = found + len(mark)
        return self.text[start:found]

    def matches(self, pattern: re.Pattern[str]) -> Reading[str]:
        """What `pattern`, a run of characters, matches here, and move past it; empty where it does not."""
        start = self.at
        while True:
            found = pattern.match(self.text, self.at)
            self.at = self.at if found is None else found.end()
            if self.at < len(self.text) or not (yield from self.more()):
                return self.text[start : self.at]
