"""Guesses of a draft pool: made from one outcome to the next, while the target computes, and used if they are ready."""

from collections.abc import Callable, Mapping, Sequence

from llama4coder.obs.pool import PoolLookup
from llama4coder.scaling.pool_meter import PoolMeter
from llama4coder.simulator.guessing import Guessing
from llama4coder.simulator.pool import Pool, Target
from llama4coder.spec.types import Draft, DraftQuery, DraftSource, RowOutcome
from llama4coder.types import GenerateRequest


class PooledProposer:
    """Implements `Proposer` for one engine."""

    def __init__(self, name: str, guessing: Guessing, pool: Pool, meter: PoolMeter, clock: Callable[[], float]) -> None:
        self._name = name
        self._guessing = guessing
        self._pool = pool
        self._meter = meter
        self._clock = clock
        self._since_s: dict[str, float] = {}  # when its last outcome was known
        self._span_s: dict[str, float] = {}  # from the outcome before to that
        pool.join(name, Target(meter, lambda: len(guessing.known)))

    def begin(self, request: GenerateRequest) -> None:
        """See `Proposer.begin`."""
        self._guessing.known[request.request_id] = request

    def may_guess(self, request_id: str) -> bool:
        """See `Proposer.may_guess`."""
        return self._pool.num_replicas > 0 and request_id in self._guessing.known

    def propose(self, queries: Sequence[DraftQuery]) -> Mapping[str, Draft]:
        """See `Proposer.propose`."""
        if not self._pool.num_replicas:
            return {}
        token_s, drafts = self._pool.token_s, {}
        for query in queries:
            num_ready = self._num_ready(query, token_s)
            found = self._found(query, num_ready)
            self._meter.on_pool_lookup(found)
            if found is PoolLookup.HIT:
                drafts[query.request_id] = Draft(self._guessing.guess(query, num_ready), DraftSource.POOL)
        return drafts

    def observe(self, outcomes: Sequence[RowOutcome]) -> None:
        """See `Proposer.observe`."""
        now_s = self._clock()
        for outcome in outcomes:
            since_s = self._since_s.get(outcome.request_id)
            if since_s is not None:
                self._span_s[outcome.request_id] = now_s - since_s
            self._since_s[outcome.request_id] = now_s

    def end(self, request_id: str) -> None:
        """See `Proposer.end`."""
        self._guessing.known.pop(request_id, None)
        self._since_s.pop(request_id, None)
        self._span_s.pop(request_id, None)

    def close(self) -> None:
        """See `Proposer.close`."""
        self._guessing.known.clear()
        self._pool.leave(self._name)

    def _num_ready(self, query: DraftQuery, token_s: float) -> int:
        """Guesses that there was time for; the replica is busy with them, or all the time."""
        span_s = self._span_s.get(query.request_id, 0.0)
        self._pool.spend(min(span_s, query.max_tokens * token_s))
        return min(query.max_tokens, int((span_s - self._pool.plan.delay_s) / token_s))

    def _found(self, query: DraftQuery, num_ready: int) -> PoolLookup:
        if query.request_id not in self._span_s:
            return PoolLookup.OPENING
        if num_ready < 1:
            return PoolLookup.LATE
        return PoolLookup.HIT if self._guessing.hits() else PoolLookup.MISS
