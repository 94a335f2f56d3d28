"""What a target replica says of its load, measured beside its engine."""

import math
import threading
from collections import deque
from collections.abc import Callable

from llama4coder.obs.stats import EngineObserver, EngineStats, StepStats
from llama4coder.scaling.targets import TargetLoad
from llama4coder.types import FinishReason

_MEMORY_S = 10.0  # of the prompt tokens that come
_DECAY = 0.95  # what a step with prompt tokens leaves of those before it
_WINDOW_S = 60.0  # of first tokens
_QUANTILE = 0.9
_MOST_KEPT = 1024


class LoadMeter:
    """An `EngineObserver` that passes all on to another; `load` may be called from any thread."""

    def __init__(self, inner: EngineObserver, block_size: int, num_shards: int, clock: Callable[[], float]) -> None:
        self._inner = inner
        self._block_size = block_size
        self._num_shards = num_shards
        self._clock = clock
        self._rate = PrefillRate()
        self._lock = threading.Lock()
        self._first_tokens: deque[tuple[float, float]] = deque(maxlen=_MOST_KEPT)  # when, and after how long

    def load(self, stats: EngineStats, num_arriving: int = 0, num_arriving_tokens: int = 0) -> TargetLoad:
        """Of an engine in this state, with requests on their way to it."""
        num_waiting_tokens = stats.num_waiting_tokens + num_arriving_tokens
        num_held = stats.num_blocks - stats.num_available_blocks * self._num_shards
        return TargetLoad(
            kv_share=(num_held + num_waiting_tokens / self._block_size) / stats.num_blocks,
            prefill_share=self._rate.share(self._clock()),
            backlog_s=self._rate.time_s(stats.num_prefill_tokens + num_arriving_tokens),
            ttft_s=self._late_ttft_s(),
            num_streams=stats.num_running + stats.num_waiting + num_arriving,
        )

    def on_state(self, state: EngineStats) -> None:
        self._inner.on_state(state)

    def on_step(self, stats: StepStats) -> None:
        self._rate.observe(stats.num_prefill_tokens, stats.step_time_s, self._clock())
        self._inner.on_step(stats)

    def on_admitted(
        self, queue_time_s: float, num_prompt_tokens: int, num_cached_tokens: int, num_host_tokens: int
    ) -> None:
        self._inner.on_admitted(queue_time_s, num_prompt_tokens, num_cached_tokens, num_host_tokens)

    def on_readmitted(self, num_restored_tokens: int, num_recomputed_tokens: int) -> None:
        self._inner.on_readmitted(num_restored_tokens, num_recomputed_tokens)

    def on_abandoned(self) -> None:
        self._inner.on_abandoned()

    def on_expired(self, num_requests: int) -> None:
        self._inner.on_expired(num_requests)

    def on_first_token(self, time_s: float) -> None:
        with self._lock:
            self._first_tokens.append((self._clock(), time_s))
        self._inner.on_first_token(time_s)

    def on_finished(self, reason: FinishReason, num_output_tokens: int) -> None:
        self._inner.on_finished(reason, num_output_tokens)

    def _late_ttft_s(self) -> float:
        since_s = self._clock() - _WINDOW_S
        with self._lock:
            times_s = sorted(time_s for seen_s, time_s in self._first_tokens if seen_s > since_s)
        return times_s[int(_QUANTILE * len(times_s))] if times_s else 0.0


class PrefillRate:
    """Prompt tokens per second of late while there are any; the steps that compute many of them count most.

    A step with few of them takes as long as one with none, so that time spent would tell less of how much more can be
    borne than tokens at that rate.
    """

    def __init__(self) -> None:
        self._tokens = 0.0
        self._time_s = 0.0
        self._tokens_per_s = 0.0  # that come, decayed mean
        self._seen_s = 0.0

    def observe(self, num_tokens: int, time_s: float, now_s: float) -> None:
        """Count a step; without prompt tokens it says nothing."""
        if num_tokens:
            self._tokens = _DECAY * self._tokens + num_tokens * num_tokens
            self._time_s = _DECAY * self._time_s + num_tokens * time_s
            self._tokens_per_s = self._coming(now_s) + num_tokens / _MEMORY_S
            self._seen_s = now_s

    def time_s(self, num_tokens: float) -> float:
        """How long so many take; 0 before the first step."""
        return num_tokens * self._time_s / self._tokens if self._tokens else 0.0

    def share(self, now_s: float) -> float:
        """Of the time of late: what the prompt tokens that came take."""
        return self.time_s(self._coming(now_s))

    def _coming(self, now_s: float) -> float:
        return self._tokens_per_s * math.exp((self._seen_s - now_s) / _MEMORY_S)
