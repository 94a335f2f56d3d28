"""The engine: scheduler above, ranks below, the next step planned while one runs."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llama4coder.engine.executor import Executor
from llama4coder.engine.pace import StepPace
from llama4coder.engine.plan import StepPlan, StepResult
from llama4coder.engine.queue_forecast import QueueForecast
from llama4coder.engine.scheduler import Scheduler, SchedulerLimits
from llama4coder.errors import QueueTimeout
from llama4coder.kv.block_pool import BlockPool
from llama4coder.kv.name_journal import NameJournal
from llama4coder.obs.stats import EngineObserver, EngineStats, ShardBlocks, StepStats
from llama4coder.resolved import ResolvedConfig
from llama4coder.spec.types import NoSpeculation, Speculation, StepCost
from llama4coder.types import FinishReason, GenerateRequest, TokenEvent


@dataclass(frozen=True, slots=True)
class _InFlight:
    """A plan that has been submitted and not collected."""

    plan: StepPlan
    guess_s: float  # what guessing took for it
    submitted_s: float


class Engine:
    """Generates for many requests at once; for one thread, which while `has_work` calls `await_turn` and `step`.

    schedule t+1 ──┐            ┌── schedule t+2
    ranks:  [ step t       ][ step t+1     ][ ...
                            └── collect and commit t

    With guesses in a step, the next one is planned when it is over: they depend on its outcome.
    """

    def __init__(
        self,
        config: ResolvedConfig,
        executor: Executor,
        observer: EngineObserver,
        speculation: Speculation | None = None,
        journal: NameJournal | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        engine = config.engine
        limits = SchedulerLimits(
            block_size=engine.block_size,
            context_length=config.model.context_length,
            max_sequences=engine.max_sequences,
            max_step_tokens=engine.max_step_tokens,
            prefix_caching=engine.prefix_caching,
            queue_timeout_s=engine.queue_timeout_s,
            batch_delay_s=engine.batch_delay_s,
            block_bounds=engine.block_bounds,
        )
        pool = BlockPool(engine.num_blocks, engine.kv_shards, engine.num_host_blocks, journal=journal)
        self.scheduler = Scheduler(pool, limits)
        self._clock = clock
        self._executor = executor
        self.observer = observer
        self._step_timeout_s = engine.step_timeout_s
        self._forecast = QueueForecast()
        self._in_flight: deque[_InFlight] = deque()  # at most two, oldest first
        self._collected_s = 0.0
        self._pace = StepPace()
        self._arrivals_s: dict[str, float] = {}  # of requests without a token
        self._speculation = speculation or NoSpeculation()

    @property
    def has_work(self) -> bool:
        return bool(self._in_flight) or self.scheduler.has_work

    def check_fits(self, request: GenerateRequest) -> None:
        """See `Scheduler.check_fits`; needs no lock."""
        self.scheduler.check_fits(request)

    def add(self, request: GenerateRequest, *, urgent: bool = False) -> None:
        """Queue a request that fits; an urgent one goes first."""
        now_s = self._clock()
        self.scheduler.add(request, now_s, urgent=urgent)
        if not request.output_token_ids:
            self._arrivals_s[request.request_id] = now_s
        self._speculation.begin(request)

    def abort(self, request_id: str) -> None:
        """Drop a request and free its blocks; unknown ids are ignored."""
        aborted = self.scheduler.abort(request_id)
        self._speculation.end(request_id)
        self._arrivals_s.pop(request_id, None)
        if aborted is None:
            return
        self.observer.on_finished(FinishReason.ABORT, aborted.num_output_tokens)
        if aborted.was_preempted:
            self.observer.on_abandoned()

    def expire(self) -> dict[str, QueueTimeout]:
        """Drop the requests that have waited for `engine.queue_timeout_s`; what each is to be told.

        For callers who promise their clients an answer in time; whoever has no clients never asks.
        """
        expired = self.scheduler.expire(self._clock())
        if not expired:
            return {}
        retry_after_s = self.retry_after_s(self.scheduler.num_waiting)
        message = (
            f"no room was free for this request within {self.scheduler.limits.queue_timeout_s:g} s; "
            f"try again in {retry_after_s:.0f} s"
        )
        for request_id in expired:
            self._speculation.end(request_id)
            self._arrivals_s.pop(request_id, None)
        self.observer.on_expired(len(expired))
        return {request_id: QueueTimeout(message, retry_after_s) for request_id in expired}

    def retry_after_s(self, num_ahead: int) -> float:
        """When whoever comes behind so many requests may hope to be admitted; needs no lock."""
        return self._forecast.retry_after_s(num_ahead)

    def await_turn(self) -> None:
        """Return when it is time for `step`: just before the running step should end, or when it has ended."""
        if self._in_flight:
            running = self._in_flight[0]
            turn_s = self._start_s(running) + self._pace.lead_after_s(running.plan.num_tokens)
            self._executor.ready(max(0.0, turn_s - self._clock()))

    def step(self) -> list[TokenEvent]:
        """Plan the next step, then commit the one before it; raises `EngineDead` when a rank fails."""
        events: list[TokenEvent] = []
        if self._in_flight and (self._executor.ready(0.0) or self._must_wait()):
            events = self._commit()  # too late to plan ahead, or too early: then with all that is known
        planned = self._plan()
        if len(self._in_flight) > 1 or (self._in_flight and not planned):
            events += self._commit()
        return events

    def stats(self) -> EngineStats:
        """A snapshot between steps."""
        usage, host = self.scheduler.pool.usage, self.scheduler.pool.host.usage
        return EngineStats(
            num_running=self.scheduler.num_running,
            num_waiting=self.scheduler.num_waiting,
            num_waiting_batch=self.scheduler.num_waiting_batch,
            num_waiting_tokens=self.scheduler.num_waiting_tokens,
            num_blocks=self.scheduler.pool.num_blocks,
            num_used_blocks=usage.used,
            num_cached_blocks=usage.cached,
            num_free_blocks=usage.free,
            num_promised_blocks=self.scheduler.num_promised_blocks,
            num_cached_host_blocks=host.cached,
            num_pinned_host_blocks=host.pinned,
            num_free_host_blocks=host.free,
            num_available_blocks=self.scheduler.num_available_blocks,
            num_running_tokens=self.scheduler.num_running_tokens,
            num_prefill_tokens=self.scheduler.num_prefill_tokens,
            num_evicted_blocks=self.scheduler.pool.num_evicted,
            shards=[ShardBlocks(each.used, each.cached, each.free) for each in self.scheduler.pool.shards],
        )

    def check_integrity(self) -> None:
        """Assert the invariants of sequences and blocks."""
        self.scheduler.check_integrity()

    def close(self) -> None:
        self._executor.close()
        self._speculation.close()

    def _plan(self) -> bool:
        """Schedule and submit a step; False if there is nothing to compute before the next commit."""
        started_s = self._clock()
        drafts = self._drafts()
        guess_s = self._clock() - started_s
        plan = self.scheduler.schedule(drafts)
        if plan is None:
            assert self._in_flight or not self.has_work, "work that can never be scheduled"
            return False
        self._report_admissions()
        self._executor.submit(plan)
        self._in_flight.append(_InFlight(plan, guess_s, self._clock()))
        return True

    def _must_wait(self) -> bool:
        """Whether the next plan depends on the outcome of the last one."""
        return self._in_flight[-1].plan.has_drafts or self._speculation.wants(self.scheduler.decoding())

    def _drafts(self) -> Mapping[str, tuple[int, ...]]:
        """Guesses for the next plan, unless that is made ahead."""
        queries = [] if self._in_flight else self.scheduler.queries()
        return self._speculation.propose(queries) if queries else {}

    def _commit(self) -> list[TokenEvent]:
        """Collect the oldest step and book what it computed."""
        result = self._executor.collect(self._step_timeout_s)
        done = self._in_flight.popleft()
        events = self.scheduler.commit(done.plan, result)
        self._report_step(done, result)
        self._report_first_tokens(events)
        self._report_finished(events)
        return events

    def _start_s(self, step: _InFlight) -> float:
        """When the ranks began with it: at once, or when they were done with the one before."""
        return max(step.submitted_s, self._collected_s)

    def _report_admissions(self) -> None:
        now_s = self._clock()
        admissions, readmissions = self.scheduler.admissions, self.scheduler.readmissions
        self._forecast.observe(now_s, len(admissions) + len(readmissions), self.scheduler.num_waiting)
        for one in admissions:
            queue_time_s = now_s - one.arrival_s
            self.scheduler.note_queue_time(one.request_id, queue_time_s)
            self.observer.on_admitted(queue_time_s, one.num_prompt_tokens, one.num_cached_tokens, one.num_host_tokens)
        for readmission in readmissions:
            self.observer.on_readmitted(readmission.num_restored_tokens, readmission.num_recomputed_tokens)

    def _report_step(self, done: _InFlight, result: StepResult) -> None:
        now_s = self._clock()
        step_time_s = now_s - self._start_s(done)
        self._collected_s = now_s
        self._pace.observe(done.plan.num_tokens, step_time_s)
        if done.plan.rows:  # others only tell the ranks what to forget
            cost = StepCost(len(done.plan.rows), done.plan.num_tokens, step_time_s, done.guess_s)
            self._speculation.observe(self.scheduler.outcomes, cost)
        num_decode = sum(row.num_sampled for row in done.plan.rows if row.num_sampled == row.num_tokens)
        self.observer.on_step(
            StepStats(
                step_time_s=step_time_s,
                model_time_s=result.model_time_s,
                num_prefill_tokens=done.plan.num_tokens - num_decode,
                num_decode_tokens=num_decode,
                num_saved_blocks=len(done.plan.saves),
                num_loaded_blocks=len(done.plan.loads),
            )
        )

    def _report_first_tokens(self, events: list[TokenEvent]) -> None:
        for event in events:
            arrival_s = self._arrivals_s.pop(event.request_id, None)
            if arrival_s is not None:
                self.observer.on_first_token(self._collected_s - arrival_s)

    def _report_finished(self, events: list[TokenEvent]) -> None:
        for event in events:
            if event.finish_reason is not None:
                self._speculation.end(event.request_id)
                self.observer.on_finished(event.finish_reason, event.offset + len(event.token_ids))
