"""One choice's text as what it is made of, whole or as it comes."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from llama4coder.server.generation import Chunk
from llama4coder.server.reply.events import Content, Event, Reasoning, ToolCall
from llama4coder.server.reply.reply import ReplyFormat


class ReasoningDisplay(Enum):
    """What a client wants to see of the reasoning."""

    SHOWN = auto()
    EMPTY = auto()  # that there was some, and not what
    DROPPED = auto()

    def of(self, events: Iterable[Event]) -> list[Event]:
        """The events as they are to be seen."""
        if self is ReasoningDisplay.SHOWN:
            return list(events)
        others = self is ReasoningDisplay.EMPTY
        shown = (Reasoning("") if isinstance(event, Reasoning) else event for event in events)
        return [event for event in shown if others or not isinstance(event, Reasoning)]


class ChoiceReader:
    """Reads one choice, chunk by chunk; without a format all of its text is content."""

    def __init__(self, reply_format: ReplyFormat | None, display: ReasoningDisplay = ReasoningDisplay.SHOWN) -> None:
        self._parser = None if reply_format is None else reply_format.parser()
        self._display = display
        self.num_calls = 0  # so far

    def read(self, chunk: Chunk) -> list[Event]:
        """What a chunk adds; the last one adds whatever had been held back."""
        if self._parser is None:
            return [Content(chunk.text)] if chunk.text else []
        events = self._parser.push(chunk.text)
        if chunk.finish_reason is not None:
            events += self._parser.finish()
        self.num_calls += sum(isinstance(event, ToolCall) for event in events)
        return self._display.of(events)


@dataclass(frozen=True, slots=True)
class WholeReply:
    """A whole choice; of its parts no two neighbours are texts of one kind."""

    parts: tuple[Event, ...]

    @property
    def content(self) -> str:
        """All text for the user."""
        return "".join(part.text for part in self.parts if isinstance(part, Content))

    @property
    def reasoning(self) -> str:
        """All that was thought."""
        return "".join(part.text for part in self.parts if isinstance(part, Reasoning))

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """All calls of tools, in their order."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))


def whole_reply(
    reply_format: ReplyFormat | None, chunk: Chunk, display: ReasoningDisplay = ReasoningDisplay.SHOWN
) -> WholeReply:
    """What a chunk that has everything holds."""
    parts: list[Event] = []
    for event in ChoiceReader(reply_format, display).read(chunk):
        last = parts[-1] if parts else None
        if isinstance(event, Content) and isinstance(last, Content):
            parts[-1] = Content(last.text + event.text)
        elif isinstance(event, Reasoning) and isinstance(last, Reasoning):
            parts[-1] = Reasoning(last.text + event.text)
        else:
            parts.append(event)
    return WholeReply(tuple(parts))
