"""What one tenant has used of its limits."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from llama4coder.keys.bucket import TokenBucket
from llama4coder.keys.record import KeyRecord, Limits

_LEAST_TOKENS = 1.0
_STREAM_WAIT_S = 1.0  # nobody knows when a stream will end


class LimitKind(StrEnum):
    """Which limit a request has met."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    CONCURRENT = "concurrent"


@dataclass(frozen=True, slots=True)
class Exceeded:
    """The limit that was met, and when to come back."""

    kind: LimitKind
    limit: int
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class Standing:
    """One limit per minute as headers tell it."""

    limit: int
    remaining: int
    full_in_s: float


class Quota:
    """One tenant's use, as far as this process sees it; of limits for all processes it gives a share."""

    def __init__(self, limits: Limits, num_processes: int, clock_s: Callable[[], float]) -> None:
        self.limits = limits
        self._num_running = 0
        self._max_running = _share(limits.concurrent_requests, num_processes)
        self._requests = _bucket(limits.requests_per_min, num_processes, clock_s)
        self._tokens = _bucket(limits.tokens_per_min, num_processes, clock_s)

    def begin(self) -> Exceeded | None:
        """Count a request that begins, or say why it may not; whoever began one ends it."""
        if self._max_running is not None and self._num_running >= self._max_running:
            return Exceeded(LimitKind.CONCURRENT, self._max_running, _STREAM_WAIT_S)
        if self._requests is not None and self._requests.level < 1:
            return Exceeded(LimitKind.REQUESTS, int(self._requests.per_min), self._requests.wait_s(1))
        if (exceeded := self.lack_of_tokens()) is not None:
            return exceeded
        if self._requests is not None:
            self._requests.take(1)
        self._num_running += 1
        return None

    def end(self) -> None:
        """A request that was begun has ended."""
        self._num_running -= 1

    def lack_of_tokens(self) -> Exceeded | None:
        """Whether the tokens of this minute are used up."""
        if self._tokens is None or self._tokens.level >= _LEAST_TOKENS:
            return None
        return Exceeded(LimitKind.TOKENS, int(self._tokens.per_min), self._tokens.wait_s(_LEAST_TOKENS))

    def take_tokens(self, num_tokens: int) -> None:
        """Count tokens of a prompt or an output."""
        if self._tokens is not None:
            self._tokens.take(num_tokens)

    @property
    def requests(self) -> Standing | None:
        return _standing(self._requests)

    @property
    def tokens(self) -> Standing | None:
        return _standing(self._tokens)


class Quotas:
    """The quota of each tenant; new limits begin anew."""

    def __init__(self, num_processes: int, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._num_processes = num_processes
        self._clock_s = clock_s
        self._by_name: dict[str, Quota] = {}

    def of(self, record: KeyRecord) -> Quota:
        """The tenant's."""
        quota = self._by_name.get(record.name)
        if quota is None or quota.limits != record.limits:
            quota = self._by_name[record.name] = Quota(record.limits, self._num_processes, self._clock_s)
        return quota


def _share(limit: int | None, num_processes: int) -> int | None:
    return None if limit is None else math.ceil(limit / num_processes)


def _bucket(per_min: int | None, num_processes: int, clock_s: Callable[[], float]) -> TokenBucket | None:
    share = _share(per_min, num_processes)
    return None if share is None else TokenBucket(share, clock_s)


def _standing(bucket: TokenBucket | None) -> Standing | None:
    if bucket is None:
        return None
    return Standing(int(bucket.per_min), max(0, int(bucket.level)), bucket.wait_s(bucket.per_min))
