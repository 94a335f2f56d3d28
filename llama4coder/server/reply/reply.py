"""How one request's replies are read, and the reading of one of them."""

from dataclasses import dataclass

from llama4coder.server.reply.calls import CallParser
from llama4coder.server.reply.events import Content, Event, ToolCall
from llama4coder.server.reply.grammar import Grammar
from llama4coder.server.reply.layout import Layout
from llama4coder.server.reply.thinking import ThinkingParser, ThinkMarks


@dataclass(frozen=True, slots=True)
class ReplyFormat:
    """What a reply may hold besides content; a dialect makes one parser per choice from it.

    `shown_ids` are special tokens that structure it: their text must reach the parser, though specials are hidden.
    """

    grammar: Grammar | None = None  # None: no tools were offered
    think_marks: ThinkMarks | None = None  # None: the model does not think
    is_thinking: bool = False  # the prompt has opened the reasoning
    max_calls: int | None = None  # None: any number; those that follow are cut
    shown_ids: frozenset[int] = frozenset()

    def parser(self) -> "ReplyParser":
        """A parser for one reply."""
        return ReplyParser(self)


class ReplyParser:
    """One reply's text as events, as they become certain.

    However the text is cut into pushes, the events are the same once neighbouring texts of one kind are joined.
    """

    def __init__(self, reply_format: ReplyFormat) -> None:
        marks, grammar = reply_format.think_marks, reply_format.grammar
        self._thinking = None if marks is None else ThinkingParser(marks, is_open=reply_format.is_thinking)
        self._calls = None if grammar is None else CallParser(grammar)
        self._layout = Layout()
        self._max_calls = reply_format.max_calls
        self._num_calls = 0

    def push(self, text: str) -> list[Event]:
        """Take what follows and give what is certain."""
        events: list[Event] = [Content(text)] if self._thinking is None else self._thinking.push(text)
        return self._layout.push(self._limited(self._with_calls(events)))

    def finish(self) -> list[Event]:
        """The rest, when nothing follows; the parser is done."""
        events = self._with_calls([] if self._thinking is None else self._thinking.finish())
        events += [] if self._calls is None else self._calls.finish()
        return self._layout.push(self._limited(events)) + self._layout.finish()

    def _with_calls(self, events: list[Event]) -> list[Event]:
        calls = self._calls
        if calls is None:
            return events
        parts = (calls.push(event.text) if isinstance(event, Content) else [event] for event in events)
        return [part for found in parts for part in found]

    def _limited(self, events: list[Event]) -> list[Event]:
        return [event for event in events if not isinstance(event, ToolCall) or self._counts()]

    def _counts(self) -> bool:
        self._num_calls += 1
        return self._max_calls is None or self._num_calls <= self._max_calls
