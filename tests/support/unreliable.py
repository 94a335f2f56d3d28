"""Ways between two parties that lose, repeat, reorder and delay what is sent over them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Generic, TypeVar

from cluster.channel.draft_link import Link, Links
from cluster.channel.endpoint import Endpoint

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Faults:
    """What happens to a message, each with a probability; a late one comes after others that were sent later."""

    loss: float = 0.0
    repetition: float = 0.0
    delay: float = 0.0
    max_delay: int = 5  # times that something else is passed on meanwhile


NO_FAULTS = Faults()
BAD = Faults(loss=0.3, repetition=0.3, delay=0.5)


class Unreliable(Generic[T]):
    """One direction: what is put in comes out at once, later, twice or never."""

    def __init__(self, faults: Faults, random: Random) -> None:
        self.faults = faults
        self._random = random
        self._turn = 0
        self._held: list[tuple[int, T]] = []  # until which turn

    def pass_on(self, messages: Iterable[T]) -> list[T]:
        """Put messages in; returns those that come out now, in any order."""
        self._turn += 1
        self._held += [(self._turn + self._delay(), message) for message in messages for _ in range(self._copies())]
        due = [message for turn, message in self._held if turn <= self._turn]
        self._held = [(turn, message) for turn, message in self._held if turn > self._turn]
        if self.faults.delay:
            self._random.shuffle(due)
        return due

    def _copies(self) -> int:
        if self._random.random() < self.faults.loss:
            return 0
        return 2 if self._random.random() < self.faults.repetition else 1

    def _delay(self) -> int:
        late = self._random.random() < self.faults.delay
        return self._random.randint(1, self.faults.max_delay) if late else 0


class UnreliableLink:
    """Implements `Link` over another one, unreliable both ways."""

    def __init__(self, link: Link, faults: Faults, seed: int) -> None:
        self._link = link
        self._there: Unreliable[bytes] = Unreliable(faults, Random(seed))
        self._back: Unreliable[bytes] = Unreliable(faults, Random(seed + 1))

    def send(self, frame: bytes) -> None:
        for passed in self._there.pass_on([frame]):
            self._link.send(passed)

    def receive(self) -> Sequence[bytes]:
        return self._back.pass_on(self._link.receive())

    def close(self) -> None:
        self._link.close()


class UnreliableLinks:
    """Implements `Links` over others, all of them unreliable."""

    def __init__(self, links: Links, faults: Faults, seed: int = 0) -> None:
        self._links = links
        self._faults = faults
        self._seed = seed

    def connect(self, endpoint: Endpoint) -> Link:
        self._seed += 2
        return UnreliableLink(self._links.connect(endpoint), self._faults, self._seed)

    def close(self) -> None:
        self._links.close()
