"""Names of cached blocks on both sides of a report."""

import struct
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from llama4coder.kv.block_hash import BlockHash
from llama4coder.kv.name_journal import NameEvent
from llama4coder.router.messages import NameChange
from llama4coder.router.types import BlockName

MAX_NAMES = 2**16  # of one report: half a megabyte; what a replica has beyond them, routers do not hear of
_BYTES = 8


def short_name(name: BlockHash) -> BlockName:
    """What routers know a block by."""
    return int.from_bytes(name[:_BYTES], "little")


class CachedNames:
    """The replica's side: follows a journal."""

    def __init__(self) -> None:
        self._names: dict[BlockName, None] = {}  # the newest last

    def apply(self, events: Iterable[NameEvent]) -> NameChange:
        """Follow what has happened; returns what it comes to."""
        before: dict[BlockName, bool] = {}
        for event in events:
            name = short_name(event.name)
            before.setdefault(name, name in self._names)
            if event.is_cached:
                self._names[name] = None
            else:
                self._names.pop(name, None)
        added = [name for name, was_there in before.items() if name in self._names and not was_there]
        removed = [name for name, was_there in before.items() if name not in self._names and was_there]
        return NameChange(is_full=False, added=_pack(added), removed=_pack(removed))

    def full(self) -> NameChange:
        """All of them, the newest ones if there are too many."""
        return NameChange(is_full=True, added=_pack(list(self._names)))


class KnownNames:
    """A router's side: what a replica is believed to have cached."""

    def __init__(self) -> None:
        self._names: set[BlockName] = set()

    def apply(self, change: NameChange) -> None:
        """Take it over; `ValueError` if it is damaged. A change to another state than this leaves a little dirt."""
        added, removed = _unpack(change.added), _unpack(change.removed)
        if change.is_full:
            self._names = set(added)
        else:
            self._names.update(added)
            self._names.difference_update(removed)

    def num_leading(self, names: Sequence[BlockName]) -> int:
        """How many of a sequence's first blocks are there: a block is never cached longer than those before it."""
        return bisect_left(range(len(names)), True, key=lambda place: names[place] not in self._names)


def num_common(first: Sequence[BlockName], second: Sequence[BlockName]) -> int:
    """How many first blocks two sequences share: equal names have equal names before them."""
    shorter = range(min(len(first), len(second)))
    return bisect_left(shorter, True, key=lambda place: first[place] != second[place])


def _pack(names: Sequence[BlockName]) -> bytes:
    newest = names[-MAX_NAMES:]
    return struct.pack(f"<{len(newest)}Q", *newest)


def _unpack(packed: bytes) -> Sequence[BlockName]:
    if len(packed) % _BYTES:
        raise ValueError(f"{len(packed)} bytes are no names")
    return struct.unpack(f"<{len(packed) // _BYTES}Q", packed)
