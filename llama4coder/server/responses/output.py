"""One answer as items, and as the events that build them up."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from llama4coder.server.generation import Chunk
from llama4coder.server.reply.events import Content, Reasoning, ToolCall
from llama4coder.server.reply.events import Event as Part
from llama4coder.server.reply.reply import ReplyParser
from llama4coder.server.responses.calls import write_call
from llama4coder.server.responses.events import Event
from llama4coder.server.responses.offers import Offer
from llama4coder.server.responses.replies import ItemStatus, OutputItem
from llama4coder.server.responses.texts import Logprobs, MessageText, RawReasoning, ShownReasoning, TextItem
from llama4coder.types import FinishReason


@dataclass(frozen=True, slots=True)
class OutputStyle:
    """How an answer is written down."""

    offers: Mapping[str, Offer]  # by the names that the model knows
    shows_reasoning: bool  # as a summary
    logprobs: Callable[[Chunk], Logprobs]


class Output:
    """Takes one answer's chunks; the last one closes every item."""

    def __init__(self, parser: ReplyParser, style: OutputStyle) -> None:
        self.items: list[OutputItem] = []
        self.num_reasoning_tokens = 0
        self._parser = parser
        self._style = style
        self._text: TextItem | None = None
        self._num_undecided_tokens = 0
        self._has_answered = False

    def push(self, chunk: Chunk) -> list[Event]:
        """The events that a chunk brings about."""
        parts = self._parser.push(chunk.text)
        if chunk.finish_reason is not None:
            parts += self._parser.finish()
        self._count_reasoning(chunk, parts)
        logprobs = self._style.logprobs(chunk)
        if logprobs and not parts:
            parts = [Content("")]  # its tokens have no whole character yet
        events: list[Event] = []
        for part in parts:
            events += self._call(part) if isinstance(part, ToolCall) else self._add_text(part, logprobs)
            logprobs = []
        if chunk.finish_reason is not None:
            events += self._finish(chunk.finish_reason)
        return events

    def _count_reasoning(self, chunk: Chunk, parts: list[Part]) -> None:
        """A chunk that goes from reasoning to an answer counts as the answer's."""
        self._num_undecided_tokens += len(chunk.token_ids)
        self._has_answered = self._has_answered or any(not isinstance(part, Reasoning) for part in parts)
        if parts and not self._has_answered:
            self.num_reasoning_tokens += self._num_undecided_tokens
        if parts:
            self._num_undecided_tokens = 0

    def _add_text(self, part: Content | Reasoning, logprobs: Logprobs) -> Iterator[Event]:
        kind = MessageText if isinstance(part, Content) else self._reasoning_kind
        if not isinstance(self._text, kind):
            yield from self._close("completed")
            self._text = kind(len(self.items))
            yield from self._text.begin()
        yield self._text.add(part.text, logprobs)

    @property
    def _reasoning_kind(self) -> type[RawReasoning] | type[ShownReasoning]:
        return ShownReasoning if self._style.shows_reasoning else RawReasoning

    def _close(self, status: ItemStatus) -> list[Event]:
        if self._text is None:
            return []
        events = self._text.end(status)
        self.items.append(self._text.item(status))
        self._text = None
        return events

    def _finish(self, reason: FinishReason) -> list[Event]:
        events: list[Event] = []
        if not self.items and self._text is None:
            self._text = MessageText(0)
            events += self._text.begin()
        return events + self._close("completed" if reason is FinishReason.STOP else "incomplete")

    def _call(self, call: ToolCall) -> Iterator[Event]:
        yield from self._close("completed")
        written = write_call(len(self.items), call, self._style.offers.get(call.name))
        self.items.append(written.item)
        yield from written.events
