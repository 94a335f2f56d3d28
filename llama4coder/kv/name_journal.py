"""Which names blocks have got and lost, from the engine's thread to whoever tells others of them."""

from collections import deque
from dataclasses import dataclass

from llama4coder.kv.block_hash import BlockHash


@dataclass(frozen=True, slots=True)
class NameEvent:
    """A block's content has been named and can be shared from now on, or no longer."""

    name: BlockHash
    is_cached: bool


class NameJournal:
    """Written by a block pool, read by one other thread, which must keep up: it holds all that was not read yet."""

    def __init__(self) -> None:
        self._events: deque[NameEvent] = deque()

    def named(self, name: BlockHash) -> None:
        self._events.append(NameEvent(name, is_cached=True))

    def forgotten(self, name: BlockHash) -> None:
        self._events.append(NameEvent(name, is_cached=False))

    def take(self) -> list[NameEvent]:
        """What has happened since the last call, in order."""
        return [self._events.popleft() for _ in range(len(self._events))]
