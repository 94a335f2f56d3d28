"""How a family of models writes calls of tools."""

from typing import Protocol

from llama4coder.server.reply.events import ToolCall
from llama4coder.server.reply.source import Reading, Source


class Grammar(Protocol):
    """Reads calls out of a reply's text; holds no state of one reply, so one object serves many at a time."""

    @property
    def marks(self) -> tuple[str, ...]:
        """Texts with which calls may begin, wherever they stand."""
        ...

    @property
    def first_chars(self) -> str:
        """Characters with which calls may begin, at the very beginning of an answer only."""
        ...

    @property
    def inner_marks(self) -> tuple[str, ...]:
        """Further texts that structure a call; vocabularies may have tokens for them, which are then shown."""
        ...

    def calls(self, source: Source) -> Reading[tuple[ToolCall, ...]]:
        """The calls that begin at the source's place, which is at a beginning, and move past them.

        The first text that cannot belong to a call ends it.

        Raises:
            NotACallError: they are not what they looked like, not in every part.
        """
        ...
