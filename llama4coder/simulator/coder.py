"""Developers at work, as a cluster for code sees them: seeded, heavy-tailed, in sessions and bursts.

A developer has a session of one kind, then a pause, then the next one. What a session's requests begin with is known
already: the system prompt of all chats, what its repository always sends along, and the session so far.
"""

import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from types import MappingProxyType

from llama4coder.errors import ConfigError
from llama4coder.simulator.arrivals import Arrival, Contents, Part, shorter
from llama4coder.simulator.daytime import Daytime

_SYSTEM_TOKENS = 1200
_LONGEST_S, _MOST_PER_S = 31 * 86_400.0, 1e6
_CONCENTRATION = 4.0  # of developers in few repositories


@dataclass(frozen=True, slots=True)
class Length:
    """Tokens, log-normally distributed."""

    median: float
    sigma: float
    most: int

    def draw(self, chance: Random) -> int:
        return max(1, min(self.most, int(chance.lognormvariate(math.log(self.median), self.sigma))))


@dataclass(frozen=True, slots=True)
class SessionKind:
    """What a developer does for a while."""

    share: float  # of sessions
    turns: float  # on average, geometrically distributed
    gap_s: float  # between two turns, on average
    has_system: bool
    context: float  # share of the repository's common tokens that come along
    opening: Length  # of the session's own: files, a diff
    question: Length  # that each turn adds
    answer: Length
    grows: bool = True  # whether a turn holds those before it


KINDS: Mapping[str, SessionKind] = MappingProxyType(
    {
        "chat": SessionKind(
            0.25, 4.0, 45.0, True, 1.0, Length(800, 1.0, 8000), Length(80, 1.0, 2000), Length(250, 0.9, 4000)
        ),
        "fim": SessionKind(
            0.65, 6.0, 3.0, False, 0.0, Length(1200, 0.7, 6000), Length(12, 0.8, 100), Length(24, 0.8, 256)
        ),
        "refactor": SessionKind(
            0.1, 8.0, 12.0, True, 1.0, Length(5000, 0.8, 24000), Length(600, 1.0, 6000), Length(700, 0.9, 6000)
        ),
    }
)


@dataclass(frozen=True, slots=True)
class CoderWorkload:
    """So many requests per second of developers who share repositories."""

    rate: float  # where all of them are at work
    duration_s: float
    seed: int = 0
    num_repositories: int = 50
    repository: Length = Length(3000, 0.5, 12000)  # what every chat about it begins with
    pause_s: float = 120.0  # between two sessions of a developer
    longest: int = 32000  # prompt and output: older turns are left out
    kinds: Mapping[str, SessionKind] = field(default_factory=lambda: KINDS)
    daytime: Daytime = field(default_factory=Daytime)

    def __post_init__(self) -> None:
        for name, value in (("rate", self.rate), ("duration", self.duration_s)):
            if not 0 < value < math.inf:
                raise ConfigError(f"the {name} of a workload must be more than 0 and finite, not {value:g}")
        if self.num_repositories < 1:
            raise ConfigError(f"a workload needs at least one repository, not {self.num_repositories}")
        if self.duration_s > _LONGEST_S:
            raise ConfigError(f"a workload of {self.duration_s:g} s is longer than a month: lower --duration")
        if self.rate > _MOST_PER_S:
            raise ConfigError(f"{self.rate:g} requests/s are more than can be simulated: lower --rate")

    @property
    def num_expected(self) -> float:
        """Requests, about."""
        return self.rate * self.duration_s * self.daytime.mean

    @property
    def num_developers(self) -> int:
        """That together send as many requests as `rate` says."""
        kinds = self.kinds.values()
        turns = sum(kind.share * kind.turns for kind in kinds)
        return max(1, round(self.rate * self.cycle_s / turns))

    @property
    def cycle_s(self) -> float:
        return self.pause_s + sum(kind.share * (kind.turns - 1) * kind.gap_s for kind in self.kinds.values())

    def arrivals(self) -> Iterator[Arrival]:
        """Requests in the order of their times."""
        chance = Random(self.seed)
        contents = Contents()
        system = contents.new(_SYSTEM_TOKENS)
        repositories = [contents.new(self.repository.draw(chance)) for _ in range(self.num_repositories)]
        seeds = [chance.getrandbits(64) for _ in range(self.num_developers)]
        streams = [_Developer(self, Random(seed), contents, system, repositories).requests() for seed in seeds]
        for number, request in enumerate(_merged(streams, self.duration_s)):
            yield Arrival(number, request.time_s, request.prompt, request.output, request.kind)


@dataclass(frozen=True, slots=True)
class _Request:
    time_s: float
    prompt: tuple[Part, ...]
    output: Part
    kind: str


@dataclass(frozen=True, slots=True)
class _Developer:
    workload: CoderWorkload
    chance: Random
    contents: Contents
    system: Part
    repositories: Sequence[Part]

    def requests(self) -> Iterator[_Request]:
        """One after the other, until no session can begin any more; those before the workload begins are left out."""
        chance, workload = self.chance, self.workload
        kinds = tuple(workload.kinds)
        shares = [workload.kinds[name].share for name in kinds]
        repository = self._choose_repository()
        time_s = -chance.uniform(0, workload.cycle_s)
        while time_s < workload.duration_s:
            (name,) = chance.choices(kinds, shares)
            is_at_work = self._is_at_work(time_s)
            for request in self._session(name, repository, time_s):
                time_s = request.time_s
                if time_s >= 0 and is_at_work:
                    yield request
            time_s += chance.expovariate(1 / workload.pause_s)

    def _is_at_work(self, time_s: float) -> bool:
        """A session that falls into time off takes as long and sends nothing."""
        daytime = self.workload.daytime
        return daytime.is_even or self.chance.random() < daytime.share_at(time_s / self.workload.duration_s)

    def _choose_repository(self) -> Part:
        """Few of them have most of the developers."""
        place = int(self.chance.expovariate(_CONCENTRATION) * len(self.repositories))
        return self.repositories[min(place, len(self.repositories) - 1)]

    def _session(self, name: str, repository: Part, start_s: float) -> Iterator[_Request]:
        chance, kind = self.chance, self.workload.kinds[name]
        common = (self.system,) if kind.has_system else ()
        if kind.context:
            common = (*common, Part(repository.token_id, int(kind.context * repository.num_tokens)))
        own: tuple[Part, ...] = (self.contents.new(kind.opening.draw(chance)),)
        time_s = start_s
        while True:
            output = self.contents.new(kind.answer.draw(chance))
            prompt = (*common, *own, self.contents.new(kind.question.draw(chance)))
            yield _Request(time_s, shorter(prompt, self.workload.longest - output.num_tokens), output, name)
            if chance.random() < 1 / kind.turns:
                return
            # The last token ends the answer, and is not said again.
            own = (*own, prompt[-1], Part(output.token_id, max(1, output.num_tokens - 1)))
            if sum(part.num_tokens for part in own) > self.workload.longest // 2:
                own = (self.contents.new(kind.opening.draw(chance)),)
            time_s += chance.expovariate(1 / kind.gap_s)


def repository_shares(num_repositories: int) -> Sequence[float]:
    """Of developers, most of whom work on the first few."""
    ends = [math.exp(-_CONCENTRATION * place / num_repositories) for place in range(num_repositories)]
    return [before - after for before, after in zip(ends, [*ends[1:], 0.0], strict=True)]


def _merged(streams: Sequence[Iterator[_Request]], duration_s: float) -> Iterator[_Request]:
    """All of them by time; a developer is asked for the next request only when the last one is due."""
    for request in heapq.merge(*streams, key=lambda request: request.time_s):
        if request.time_s >= duration_s:
            return
        yield request
