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

Floats = NDArray[np.float64]

_DRAWN_PER_S, _DRAWN_S = 40.0, 400.0
_BEFORE_S = 200.0  # of sessions that had begun already: what came before is not known
_AGES_S = np.concatenate(([0.0], np.geomspace(0.1, 1e6, 50)))


@dataclass(frozen=True, slots=True)
class FluidDemand:
    """Drawn requests, one in each row."""

    kinds: Sequence[str]
    kind: NDArray[np.int64]  # its place among them
    num_prompt: Floats
    num_output: Floats
    known_anywhere: Floats  # by age: tokens of the prompt that every replica has used since
    known_somewhere: Floats  # the same of some replica, which the router may send it to or not
    rate_per_s: float  # of the whole workload

    @classmethod
    def of(cls, workload: CoderWorkload) -> "FluidDemand":
        drawn = list(replace(workload, rate=_DRAWN_PER_S, duration_s=_BEFORE_S + _DRAWN_S).arrivals())
        own = _own_known(drawn, workload.kinds)
        kept = [arrival.arrival_s >= _BEFORE_S for arrival in drawn]
        counted = [arrival for arrival in drawn if arrival.arrival_s >= _BEFORE_S]
        shared = _Shared.of(counted, workload)
        kinds = tuple(workload.kinds)
        return cls(
            kinds=kinds,
            kind=np.array([kinds.index(arrival.kind) for arrival in counted]),
            num_prompt=np.array([float(arrival.num_prompt_tokens) for arrival in counted]),
            num_output=np.array([float(arrival.output.num_tokens) for arrival in counted]),
            known_anywhere=shared.system,
            known_somewhere=own[kept] + shared.repository,
            rate_per_s=workload.rate,
        )

    def new_tokens(self, age_s: float, backlog: float, num_replicas: int) -> Floats:
        """Of each prompt, to be computed where what was used within that time is cached; one always is.

        `backlog` are tokens of prompts that wait at each replica: where the router saves less than `NEAR` tolerates of
        them, load alone decides.
        """
        anywhere, somewhere = _at(self.known_anywhere, age_s), _at(self.known_somewhere, age_s)
        new = self.num_prompt - anywhere - somewhere
        is_bound = somewhere > (NEAR - 1) * (backlog + new)
        return np.maximum(1.0, np.where(is_bound, new, new + somewhere * (1 - 1 / num_replicas)))

    def age_held_s(self, rate_per_s: float, num_tokens: float) -> float:
        """How long content stays in a cache of so many tokens that gets so many requests a second."""
        known = self.known_anywhere.mean(axis=0) + self.known_somewhere.mean(axis=0)
        added_per_s = rate_per_s * (np.mean(self.num_prompt) + np.mean(self.num_output) - known)
        growth = np.diff(_AGES_S) * (added_per_s[1:] + added_per_s[:-1]) / 2
        held = np.concatenate(([0.0], np.cumsum(growth)))
        return float(np.interp(num_tokens, held, _AGES_S))


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
class _Shared:
    """By age: tokens of what many sessions begin with; the more of them there are, the younger it is."""

    system: Floats
    repository: Floats

    @classmethod
    def of(cls, drawn: Sequence[Arrival], workload: CoderWorkload) -> "_Shared":
        num_sharing = sum(_num_shared(workload.kinds[arrival.kind]) > 0 for arrival in drawn)
        rate_per_s = workload.rate * num_sharing / max(1, len(drawn))
        repository_hits = np.zeros(len(_AGES_S))
        for share in repository_shares(workload.num_repositories):
            repository_hits += share * (1 - np.exp(-share * rate_per_s * _AGES_S))
        system_hits = 1 - np.exp(-rate_per_s * _AGES_S)
        own = [arrival.prompt[: _num_shared(workload.kinds[arrival.kind])] for arrival in drawn]
        has_system = [workload.kinds[arrival.kind].has_system for arrival in drawn]
        num_all = np.array([float(sum(part.num_tokens for part in parts)) for parts in own])
        num_system = np.array(
            [float(parts[0].num_tokens) if is_there else 0.0 for parts, is_there in zip(own, has_system, strict=True)]
        )
        return cls(np.outer(num_system, system_hits), np.outer(num_all - num_system, repository_hits))


def _num_shared(kind: SessionKind) -> int:
    """Parts that a prompt of this kind begins with."""
    return int(kind.has_system) + int(math.ceil(kind.context) > 0)
