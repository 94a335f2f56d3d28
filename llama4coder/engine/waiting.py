"""Who waits for admission, and in which order.

First whoever asks whether the engine lives; then those that have begun, since somebody is reading them; then the new
ones by virtual arrival: a batch request counts as if it had come `batch_delay_s` later. So interactive ones go first,
and yet no batch request waits for an interactive one that came more than that after it. Among equals the first come is
the first served, and a small request does not overtake a large one.
"""

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from llama4coder.engine.sequence import Sequence
from llama4coder.types import Priority


class _Standing(IntEnum):
    URGENT = 0
    BEGUN = 1  # preempted, or come from another replica
    NEW = 2


@dataclass(frozen=True, slots=True, order=True)
class _Place:
    """A sequence's place in the queue; places compare as they are served."""

    standing: _Standing
    virtual_arrival_s: float
    number: int
    seq: Sequence = field(compare=False)


class WaitingQueue:
    """Sequences in the order in which they are to be admitted."""

    def __init__(self, batch_delay_s: float) -> None:
        self._batch_delay_s = batch_delay_s
        self._places: list[_Place] = []

    def add(self, seq: Sequence) -> None:
        """Let a sequence wait; its time of arrival stays what it was however often it has waited."""
        delay_s = self._batch_delay_s if seq.request.priority is Priority.BATCH else 0.0
        insort(self._places, _Place(_standing(seq), seq.arrival_s + delay_s, seq.number, seq))

    def remove(self, seq: Sequence) -> None:
        """Take out a sequence that waits."""
        del self._places[next(index for index, place in enumerate(self._places) if place.seq is seq)]

    def new_since(self, time_s: float) -> list[Sequence]:
        """Those that have not begun and have been waiting since `time_s` or longer."""
        return [
            place.seq for place in self._places if place.standing is _Standing.NEW and place.seq.arrival_s <= time_s
        ]

    def __iter__(self) -> Iterator[Sequence]:
        """Over a copy: whoever is met may be removed."""
        return (place.seq for place in list(self._places))

    def __len__(self) -> int:
        return len(self._places)

    @property
    def num_batch(self) -> int:
        return sum(place.seq.request.priority is Priority.BATCH for place in self._places)

    @property
    def num_tokens(self) -> int:
        """Tokens that they will have to compute, but for what is cached."""
        return sum(len(place.seq.token_ids) for place in self._places)


def _standing(seq: Sequence) -> _Standing:
    if seq.urgent:
        return _Standing.URGENT
    return _Standing.BEGUN if seq.preempted or seq.request.output_token_ids else _Standing.NEW
