"""What developers ask for, as rates and shares instead of requests.

Some 16,000 requests of a workload are drawn, whatever its rate, and of each is kept what of its prompt others have
had, and how long ago. So one function says what a cache is worth: tokens whose last use lies no more than so long ago
(Denning, "The working set model for program behavior", CACM 1968); and how long content stays in a least recently used
cache of a size is when the working set of that time fills it (Che et al., JSAC 2002).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llama4coder.router.kv_aware import NEAR
from llama4coder.simulator.arrivals import Arrival
from llama4coder.simulator.coder import CoderWorkload, SessionKind, repository_shares
from llama4coder.simulator.daytime import Daytime

Floats = NDArray[np.float64]

_DRAWN_PER_S, _DRAWN_S = 40.0, 400.0
_BEFORE_S = 200.0  # of sessions that had begun already: what came before is not known
_SPREAD = 0.8  # from the mean replica to the one with the fewest sequences, in roots of it
_USES = np.concatenate(([0.0], np.geomspace(1.0, 1e12, 100)))
_AGES_S = np.concatenate(([0.0], np.geomspace(0.1, 1e6, 50)))


@dataclass(frozen=True, slots=True)
class FluidDemand:
    """Drawn requests, one in each row."""

    kinds: Sequence[str]
    kind: NDArray[np.int64]  # its place among them
    num_prompt: Floats
    num_output: Floats
    own: Floats  # by age: tokens of the prompt that its session has used since, at one replica
    shared: "Shared"
    rate_per_s: float  # of the whole workload, at its peak

    @classmethod
    def of(cls, workload: CoderWorkload) -> "FluidDemand":
        drawn = list(
            replace(workload, rate=_DRAWN_PER_S, duration_s=_BEFORE_S + _DRAWN_S, daytime=Daytime()).arrivals()
        )
        own = _own_known(drawn, workload.kinds)
        kept = [arrival.arrival_s >= _BEFORE_S for arrival in drawn]
        counted = [arrival for arrival in drawn if arrival.arrival_s >= _BEFORE_S]
        kinds = tuple(workload.kinds)
        return cls(
            kinds=kinds,
            kind=np.array([kinds.index(arrival.kind) for arrival in counted]),
            num_prompt=np.array([float(arrival.num_prompt_tokens) for arrival in counted]),
            num_output=np.array([float(arrival.output.num_tokens) for arrival in counted]),
            own=own[kept],
            shared=Shared.of(counted, workload),
            rate_per_s=workload.rate,
        )

    def new_tokens(self, age_s: float, share: float, standing: "Standing", num_replicas: int) -> "NewTokens":
        """Of each prompt, to be computed where what was used within that time is cached; one always is.

        `share` is that of the peak's rate.
        """
        own, repository = _at(self.own, age_s), self.shared.repository_hits(age_s * share)
        somewhere = own + self.shared.num_repository * repository
        here = self.shared.num_repository * self.shared.repository_hits(age_s * share / num_replicas)
        here = here + own / num_replicas
        left = self.num_prompt - self.shared.num_system * self.shared.system_hits(age_s * share / num_replicas)
        bound = standing.bound(left - here, left - somewhere, num_replicas)
        new = np.maximum(1.0, left - bound * somewhere - (1 - bound) * here)
        return NewTokens(new, float(np.mean(bound)))

    def age_held_s(self, share: float, bound: float, num_tokens: float, num_replicas: int) -> float:
        """How long content stays in a cache of so many tokens, at a share of the peak's rate.

        `bound` is the share of requests that come to where their content is.
        """
        shared, here = self.shared, _AGES_S * share / num_replicas
        own, num_repository = self.own.mean(axis=0), np.mean(shared.num_repository)
        somewhere = own + num_repository * shared.repository_hits(_AGES_S * share)
        anyhow = own / num_replicas + num_repository * shared.repository_hits(here)
        known = np.mean(shared.num_system) * shared.system_hits(here) + bound * somewhere + (1 - bound) * anyhow
        rate_per_s = share * self.rate_per_s / num_replicas
        added_per_s = rate_per_s * (np.mean(self.num_prompt) + np.mean(self.num_output) - known)
        growth = np.diff(_AGES_S) * (added_per_s[1:] + added_per_s[:-1]) / 2
        held = np.concatenate(([0.0], np.cumsum(growth)))
        return float(np.interp(num_tokens, held, _AGES_S))


@dataclass(frozen=True, slots=True)
class Standing:
    """How replicas stand when a request comes: what the router weighs its prefix against."""

    backlog: float = 0.0  # tokens of prompts that wait at all of them
    sequences: float = 0.0  # at each
    busy: float = 0.0  # share of replicas that are at a prompt
    ahead: float = 0.0  # tokens of prompts at one of these, beside the backlog

    def bound(self, new_elsewhere: Floats, new_there: Floats, num_replicas: int) -> Floats:
        """Share of each request that goes to where its prefix is, as `kv_aware` has it.

        Unless all are busy, somebody else has nothing to do; and fewer sequences than most.
        """
        fewer = (self.sequences - _SPREAD * math.sqrt(self.sequences) + 1) / (self.sequences + 1) / NEAR
        idle, busy = self.backlog, self.backlog + self.ahead
        if_idle = fewer * (idle + new_elsewhere) > idle + new_there
        if_busy = fewer * (idle + new_elsewhere) > busy + new_there
        if_all_are = fewer * (busy + new_elsewhere) > busy + new_there
        all_are = self.busy**num_replicas
        return np.asarray((1 - self.busy) * if_idle + (self.busy - all_are) * if_busy + all_are * if_all_are)


@dataclass(frozen=True, slots=True)
class NewTokens:
    """What is not cached where requests come to."""

    of_each: Floats  # drawn request
    bound: float  # share of them that are sent to where their content is


def _own_known(drawn: Sequence[Arrival], kinds: Mapping[str, SessionKind]) -> Floats:
    """By age: tokens of what a session has sent or got before, as often as it was drawn."""
    known = np.zeros((len(drawn), len(_AGES_S)))
    last_s: dict[int, float] = {}
    for row, arrival in enumerate(drawn):
        for part in arrival.prompt[_num_shared(kinds[arrival.kind]) :]:
            if part.token_id in last_s:
                age_s = arrival.arrival_s - last_s[part.token_id]
                known[row, np.searchsorted(_AGES_S, age_s) :] += part.num_tokens
            last_s[part.token_id] = arrival.arrival_s
        last_s[arrival.output.token_id] = arrival.arrival_s
    return known


def _at(known: Floats, age_s: float) -> Floats:
    """Between the ages beside it."""
    place = min(int(np.searchsorted(_AGES_S, age_s, side="right")), len(_AGES_S) - 1)
    before, after = _AGES_S[place - 1], _AGES_S[place]
    share = min(1.0, (age_s - before) / (after - before))
    return np.asarray((1 - share) * known[:, place - 1] + share * known[:, place])


@dataclass(frozen=True, slots=True)
class Shared:
    """What many sessions begin with; the more of them there are, the younger it is."""

    num_system: Floats  # tokens of each drawn request
    num_repository: Floats
    uses_per_s: float  # of the system prompt in all sessions of the fleet, at the peak
    repository_by_uses: Floats  # share of uses that have one of the same before, among the last so many of all

    @classmethod
    def of(cls, drawn: Sequence[Arrival], workload: CoderWorkload) -> "Shared":
        num_sharing = sum(_num_shared(workload.kinds[arrival.kind]) > 0 for arrival in drawn)
        hits = np.zeros(len(_USES))
        for share in repository_shares(workload.num_repositories):
            hits += share * (1 - np.exp(-share * _USES))
        own = [arrival.prompt[: _num_shared(workload.kinds[arrival.kind])] for arrival in drawn]
        has_system = [workload.kinds[arrival.kind].has_system for arrival in drawn]
        num_all = np.array([float(sum(part.num_tokens for part in parts)) for parts in own])
        num_system = np.array(
            [float(parts[0].num_tokens) if is_there else 0.0 for parts, is_there in zip(own, has_system, strict=True)]
        )
        return cls(num_system, num_all - num_system, workload.rate * num_sharing / max(1, len(drawn)), hits)

    def system_hits(self, age_s: float | Floats) -> Floats:
        """At the peak's rate; at a share of it, or at one of several replicas, ages are shorter in proportion."""
        return np.asarray(1 - np.exp(-self.uses_per_s * np.asarray(age_s)))

    def repository_hits(self, age_s: float | Floats) -> Floats:
        """The same of what is known of repositories."""
        return np.asarray(np.interp(self.uses_per_s * np.asarray(age_s), _USES, self.repository_by_uses))


def _num_shared(kind: SessionKind) -> int:
    """Parts that a prompt of this kind begins with."""
    return int(kind.has_system) + int(math.ceil(kind.context) > 0)
