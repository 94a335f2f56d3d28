"""Several replicas under one router, on a clock of their own: real schedulers and block pools, and no model.

A step takes a fixed time and some more for each token; replicas report every 200 ms, and reports take 20 ms to arrive.
So many requests are out at once, each followed by the next when it has ended.
"""

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from llama4coder.config import RoutingPolicy
from llama4coder.engine.plan import RowResult, StepPlan, StepResult
from llama4coder.engine.scheduler import Scheduler, SchedulerLimits
from llama4coder.kv.block_pool import BlockPool
from llama4coder.kv.name_journal import NameJournal
from llama4coder.router.build import build_policy
from llama4coder.router.messages import Report
from llama4coder.router.reports import ReportWriter
from llama4coder.router.router import REPORT_PERIOD_S, Router
from llama4coder.router.types import ReplicaLoad
from llama4coder.types import GenerateRequest, TokenEvent
from tests.support.replicas import BLOCK_SIZE

_STEP_S = 0.005
_TOKEN_S = 0.0002
_REPORT_DELAY_S = 0.02
_MAX_SEQUENCES = 16
_NOBODY = frozenset[str]()


@dataclass(slots=True)
class Outcome:
    """What a run came to."""

    makespan_s: float = 0.0
    num_prompt_tokens: int = 0
    num_cached_tokens: int = 0
    num_predicted_tokens: int = 0
    first_token_s: list[float] = field(default_factory=list)  # of each request, since it was sent

    @property
    def hit_rate(self) -> float:
        return self.num_cached_tokens / self.num_prompt_tokens


class SimulatedReplica:
    """One scheduler with a rank that computes nothing."""

    def __init__(self, name: str, num_blocks: int) -> None:
        self.name = name
        self.is_busy = False
        self._journal = NameJournal()
        limits = SchedulerLimits(
            BLOCK_SIZE, 8192, _MAX_SEQUENCES, 512, prefix_caching=True, queue_timeout_s=1e9, batch_delay_s=0.0
        )
        self.scheduler = Scheduler(BlockPool(num_blocks, journal=self._journal), limits)
        self._writer = ReportWriter(name)

    def add(self, request: GenerateRequest, now_s: float) -> None:
        self.scheduler.add(request, now_s)
        self._writer.received(request.request_id)

    def plan(self) -> StepPlan | None:
        return self.scheduler.schedule()

    def commit(self, plan: StepPlan) -> Sequence[TokenEvent]:
        rows = tuple(RowResult(row.seq_id, (row.num_known % 7,)) for row in plan.rows if row.samples)
        return self.scheduler.commit(plan, StepResult(plan.step_id, rows, 0.0))

    def report(self) -> Report:
        scheduler = self.scheduler
        load = ReplicaLoad(
            num_running=scheduler.num_running,
            num_waiting=scheduler.num_waiting,
            num_running_tokens=scheduler.num_running_tokens,
            num_prefill_tokens=scheduler.num_prefill_tokens,
            num_blocks=scheduler.pool.num_blocks,
            num_available_blocks=scheduler.num_available_blocks,
            num_shards=1,
            num_free_places=1000,
            is_draining=False,
        )
        return self._writer.write(load, self._journal.take())


class RoutingSimulation:
    """Runs requests to their end; the same requests and policy give the same outcome."""

    def __init__(self, policy: RoutingPolicy, num_replicas: int, num_blocks: int) -> None:
        self._router = Router(build_policy(policy), BLOCK_SIZE)
        self._replicas = {name: SimulatedReplica(name, num_blocks) for name in map("r{}".format, range(num_replicas))}
        self._now_s = 0.0
        self._order = itertools.count()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._sent_s: dict[str, float] = {}
        self._requests: Iterator[GenerateRequest] = iter(())
        self._outcome = Outcome()

    def run(self, requests: Sequence[GenerateRequest], num_at_once: int) -> Outcome:
        """Send them all, so many at once."""
        self._requests = iter(requests)
        for replica in self._replicas.values():
            self._router.receive(replica.report(), 0.0)
            self._at(REPORT_PERIOD_S, partial(self._report, replica))
        for _ in range(num_at_once):
            self._send_next()
        while self._sent_s:
            self._now_s, _, action = heapq.heappop(self._agenda)
            action()
        self._outcome.makespan_s = self._now_s
        for replica in self._replicas.values():
            replica.scheduler.check_integrity()
        return self._outcome

    def _at(self, after_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self._now_s + after_s, next(self._order), action))

    def _send_next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            return
        route = self._router.route(request, _NOBODY, self._now_s)
        assert route is not None
        self._sent_s[request.request_id] = self._now_s
        self._outcome.num_prompt_tokens += len(request.prompt_token_ids)
        self._outcome.num_predicted_tokens += route.num_cached_tokens
        replica = self._replicas[route.replica]
        replica.add(request, self._now_s)
        self._start_step(replica)

    def _start_step(self, replica: SimulatedReplica) -> None:
        plan = None if replica.is_busy else replica.plan()
        if plan is not None:
            replica.is_busy = True
            self._at(_STEP_S + _TOKEN_S * plan.num_tokens, partial(self._end_step, replica, plan))

    def _end_step(self, replica: SimulatedReplica, plan: StepPlan) -> None:
        replica.is_busy = False
        for event in replica.commit(plan):
            self._tell(event)
        self._start_step(replica)

    def _tell(self, event: TokenEvent) -> None:
        if event.offset == 0:
            self._router.begun(event.request_id)
            self._outcome.num_cached_tokens += event.num_cached_tokens
            self._outcome.first_token_s.append(self._now_s - self._sent_s[event.request_id])
        if event.finish_reason is not None:
            self._router.ended(event.request_id)
            del self._sent_s[event.request_id]
            self._send_next()

    def _report(self, replica: SimulatedReplica) -> None:
        report = replica.report()
        self._at(_REPORT_DELAY_S, lambda: self._router.receive(report, self._now_s))
        self._at(REPORT_PERIOD_S, partial(self._report, replica))
