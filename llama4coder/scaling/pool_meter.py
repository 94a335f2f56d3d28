"""What a target says of its draft pool, measured beside its engine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from llama4coder.obs.pool import PoolLookup, PoolObserver
from llama4coder.obs.stats import DraftFallback, DraftStats, SpeculationObserver
from llama4coder.scaling.drafts import LEAST_GAIN
from llama4coder.spec.types import DraftSource

_WEIGHT = 1 / 64  # of a lookup
_DECAY = 0.98  # what a step leaves of those before it
_ENOUGH = 64  # lookups after which a pool can be judged
_LONG = 512  # steps after which a pool that nobody has asked so often can be: guesses were not worth it


@dataclass(frozen=True, slots=True)
class PoolUse:
    """What a target has of its pool."""

    target: str
    late_share: float  # of its lookups
    gain: float  # tokens/s over those without the pool, estimated; 0 while it is not known


class _Inner(PoolObserver, SpeculationObserver, Protocol):
    pass


class PoolMeter:
    """A `PoolObserver` and a `SpeculationObserver` that passes all on to another; any thread may ask for `use`."""

    def __init__(self, inner: _Inner, rest_s: float, clock: Callable[[], float]) -> None:
        self._inner = inner
        self._rest_s = rest_s
        self._clock = clock
        self._late_share = 0.0
        self._speedup = 1.0
        self._accepted = 0.0
        self._accepted_of_pool = 0.0
        self._num_lookups = 0  # since the pool had its first replica
        self._num_steps = 0  # likewise
        self._num_replicas = 0
        self._resting_until_s = float("-inf")

    @property
    def is_resting(self) -> bool:
        """Whether a pool that was of no use has gone, and shall not be called for yet."""
        return self._clock() < self._resting_until_s

    def use(self, target: str) -> PoolUse:
        """Of late."""
        return PoolUse(target, self._late_share, self._gain if self._is_judged else 0.0)

    def on_pool_lookup(self, found: PoolLookup) -> None:
        if found not in (PoolLookup.NO_REPLICA, PoolLookup.OPENING):
            self._num_lookups += 1
            self._late_share += _WEIGHT * ((found is PoolLookup.LATE) - self._late_share)
        self._inner.on_pool_lookup(found)

    def on_pool_round_trip(self, time_s: float) -> None:
        self._inner.on_pool_round_trip(time_s)

    def on_pool_replicas(self, num_replicas: int) -> None:
        if self._num_replicas and not num_replicas:
            self._leave()
        self._num_replicas = num_replicas
        self._inner.on_pool_replicas(num_replicas)

    def on_pool_frame_ignored(self) -> None:
        self._inner.on_pool_frame_ignored()

    def on_drafts(self, drafts: Sequence[DraftStats]) -> None:
        self._num_steps += self._num_replicas > 0
        self._accepted *= _DECAY
        self._accepted_of_pool *= _DECAY
        for draft in drafts:
            self._accepted += draft.num_accepted
            self._accepted_of_pool += draft.num_accepted if draft.source == DraftSource.POOL else 0
        self._inner.on_drafts(drafts)

    def on_fallback(self, reason: DraftFallback, num_rows: int) -> None:
        self._inner.on_fallback(reason, num_rows)

    def on_speedup(self, ratio: float) -> None:
        self._speedup = ratio
        self._inner.on_speedup(ratio)

    @property
    def _is_judged(self) -> bool:
        return self._num_lookups >= _ENOUGH or self._num_steps >= _LONG

    @property
    def _gain(self) -> float:
        """The pool's part of what speculation is worth, by the tokens that were right."""
        share = self._accepted_of_pool / self._accepted if self._accepted else 0.0
        return 1.0 + (self._speedup - 1.0) * share

    def _leave(self) -> None:
        if self._is_judged and self._gain < LEAST_GAIN:
            self._resting_until_s = self._clock() + self._rest_s
        self._num_lookups = self._num_steps = 0
