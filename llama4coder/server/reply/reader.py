"""What parsers of a reply share: a generator that reads the text as it arrives, and what it has found so far."""

from abc import ABC, abstractmethod

from llama4coder.server.reply.events import Event
from llama4coder.server.reply.source import Reading, Source


class EventReader(ABC):
    """Runs `_read` over the text; whatever that puts into `_events` is given out."""

    def __init__(self) -> None:
        self._source = Source()
        self._events: list[Event] = []
        self._reading = self._read()
        next(self._reading)

    def push(self, text: str) -> list[Event]:
        """Take what follows and give what is certain."""
        self._source.text += text
        return self._advance()

    def finish(self) -> list[Event]:
        """The rest, when nothing follows."""
        self._source.is_complete = True
        return self._advance()

    @abstractmethod
    def _read(self) -> Reading[None]:
        """Yields before anything has arrived, and wherever it needs more."""

    def _advance(self) -> list[Event]:
        next(self._reading, None)
        events, self._events = self._events, []
        return events
