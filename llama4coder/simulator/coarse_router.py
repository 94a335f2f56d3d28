"""The routing policies over arrays, for thousands of replicas; a test holds them against the product's own."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llama4coder.config import RoutingPolicy
from llama4coder.router.kv_aware import NEAR

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FleetArrays:
    """What a router knows of all replicas, by their numbers; views of live data."""

    num_sequences: Counts  # running and waiting
    num_prefill_tokens: Counts
    num_running_tokens: Counts
    num_promised_tokens: Counts  # for which nothing else has room

    @classmethod
    def of(cls, num_replicas: int) -> "FleetArrays":
        """Of replicas without work."""
        return cls(*(np.zeros(num_replicas, np.int64) for _ in range(4)))


class CoarseRouter:
    """Chooses a replica; knows no reports, hence is never late."""

    def __init__(self, policy: RoutingPolicy, arrays: FleetArrays) -> None:
        self._policy = policy
        self._arrays = arrays
        self._last_turn = np.full(len(arrays.num_sequences), -1, np.int64)
        self._num_turns = 0

    def choose(self, num_tokens: int, cached: Counts, can_take: NDArray[np.bool_]) -> int:
        """Of a request with so many tokens, of which each replica has so many cached."""
        able = np.flatnonzero(can_take)
        considered = able if len(able) else np.arange(len(can_take))
        match self._policy:
            case "kv_aware":
                return self._least(considered[self._near(considered, num_tokens - cached[considered])])
            case "least_load":
                return self._least(considered)
            case "round_robin":
                return self._next(considered)

    def _near(self, places: Counts, num_new_tokens: Counts) -> NDArray[np.bool_]:
        arrays = self._arrays
        scores = (arrays.num_prefill_tokens[places] + num_new_tokens) * (arrays.num_sequences[places] + 1)
        near: NDArray[np.bool_] = scores <= NEAR * scores.min()
        return near

    def _least(self, places: Counts) -> int:
        """The least load, whole replicas at a time: sequences, then tokens to prefill, then tokens held."""
        arrays = self._arrays
        for of in (arrays.num_sequences, arrays.num_prefill_tokens, arrays.num_running_tokens):
            values = of[places]
            places = places[values == values.min()]
        return self._next(places)

    def _next(self, places: Counts) -> int:
        chosen = int(places[np.argmin(self._last_turn[places])])
        self._last_turn[chosen] = self._num_turns
        self._num_turns += 1
        return chosen
