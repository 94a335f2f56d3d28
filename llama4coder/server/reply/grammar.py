"""How a family of models writes calls of tools."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from llama4coder.constraint.lark import Lark
from llama4coder.server.reply.events import ToolCall
from llama4coder.server.reply.source import Reading, Source
from llama4coder.server.tools import Tool


@dataclass(frozen=True, slots=True)
class CallForms:
    """Where calls may stand, in expressions of one `Lark`; the family's own reader finds in them what they say."""

    alone: str  # an answer that is calls and nothing else
    behind: Mapping[str, str] = field(default_factory=dict)  # by mark: what must follow it in the midst of text
    bare: str | None = None  # calls without a mark, at an answer's very beginning only
    bare_openings: tuple[str, ...] = ()  # with which text cannot begin there, since it would be taken for such calls
    are_last: bool = False  # nothing may follow them


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What calls an answer may hold."""

    tools: Sequence[Tool]
    max_calls: int | None  # None: any number


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

    def forms(self, lark: Lark, limits: CallLimits) -> CallForms:
        """How calls within the limits are written, with arguments that match the tools' schemas.

        Raises:
            BadGrammar: this family has no way to write a tool's name or what a strict schema demands.
        """
        ...
