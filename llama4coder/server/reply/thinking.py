"""Reasoning at the beginning of a reply, apart from what follows it."""

from dataclasses import dataclass

from llama4coder.server.reply.calls import num_undecided
from llama4coder.server.reply.events import Content, Reasoning
from llama4coder.server.reply.reader import EventReader
from llama4coder.server.reply.source import Reading


@dataclass(frozen=True, slots=True)
class ThinkMarks:
    """What a model writes around its reasoning."""

    opening: str
    closing: str


class ThinkingParser(EventReader):
    """Splits a reply into its reasoning and the rest, which is content; reasoning that does not close is all of it.

    With `is_open` the prompt has opened the reasoning already; a model that opens it again is not taken at its word.
    """

    def __init__(self, marks: ThinkMarks, *, is_open: bool) -> None:
        self._marks = marks
        self._is_open = is_open
        super().__init__()

    def _read(self) -> Reading[None]:
        yield  # nothing has arrived yet
        source = self._source
        yield from source.skip_space()
        if (yield from source.takes(self._marks.opening)) or self._is_open:
            source.take()
            yield from self._reasoning()
        while True:
            source.at = len(source.text)
            self._give(Content)
            if not (yield from source.more()):
                return

    def _reasoning(self) -> Reading[None]:
        source, closing = self._source, self._marks.closing
        while (found := source.text.find(closing)) < 0:
            source.at = len(source.text) - num_undecided(source.text, (closing,))
            self._give(Reasoning)
            if not (yield from source.more()):
                source.at = len(source.text)
                self._give(Reasoning)
                return
        source.at = found
        self._give(Reasoning)
        source.at = len(closing)
        source.take()

    def _give(self, kind: type[Content] | type[Reasoning]) -> None:
        if text := self._source.take():
            self._events.append(kind(text))
