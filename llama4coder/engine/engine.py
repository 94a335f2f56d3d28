"""The engine: scheduler above, ranks below, one step at a time."""

import time

from llama4coder.config import ResolvedConfig
from llama4coder.engine.executor import Executor
from llama4coder.engine.plan import StepPlan, StepResult
from llama4coder.engine.scheduler import Scheduler, SchedulerLimits
from llama4coder.kv.block_pool import BlockPool
from llama4coder.obs.stats import EngineObserver, EngineStats, StepStats
from llama4coder.types import FinishReason, GenerateRequest, TokenEvent


class Engine:
    """Generates for many requests at once; for one thread, which calls `step` while `has_work`."""

    def __init__(self, config: ResolvedConfig, executor: Executor, observer: EngineObserver) -> None:
        engine = config.engine
        limits = SchedulerLimits(
            block_size=engine.block_size,
            context_length=config.model.context_length,
            max_sequences=engine.max_sequences,
            max_step_tokens=engine.max_step_tokens,
            prefix_caching=engine.prefix_caching,
        )
        self.scheduler = Scheduler(BlockPool(engine.num_blocks), limits)
        self._executor = executor
        self.observer = observer
        self._step_timeout_s = engine.step_timeout_s
        self._arrivals_s: dict[str, float] = {}  # of requests that still wait

    @property
    def has_work(self) -> bool:
        return self.scheduler.has_work

    def check_fits(self, request: GenerateRequest) -> None:
        """Raise `ContextTooLong` if the request could never be held; needs no lock."""
        self.scheduler.check_fits(request)

    def add(self, request: GenerateRequest, *, urgent: bool = False) -> None:
        """Queue a request that fits; an urgent one goes first."""
        self.scheduler.add(request, urgent=urgent)
        self._arrivals_s[request.request_id] = time.monotonic()

    def abort(self, request_id: str) -> None:
        """Drop a request and free its blocks; unknown ids are ignored."""
        num_output = self.scheduler.abort(request_id)
        self._arrivals_s.pop(request_id, None)
        if num_output is not None:
            self.observer.on_finished(FinishReason.ABORT, num_output)

    def step(self) -> list[TokenEvent]:
        """Schedule, execute, commit; raises `EngineDead` when a rank fails."""
        start_s = time.monotonic()
        num_preemptions = self.scheduler.num_preemptions
        plan = self.scheduler.schedule()
        if plan is None:
            assert not self.has_work, "work that can never be scheduled"
            return []
        self._report_admissions()
        self._executor.submit(plan)
        result = self._executor.collect(self._step_timeout_s)
        events = self.scheduler.commit(plan, result)
        self._report_step(plan, result, start_s, self.scheduler.num_preemptions - num_preemptions)
        self._report_finished(events)
        return events

    def stats(self) -> EngineStats:
        """A snapshot between steps."""
        usage = self.scheduler.pool.usage
        return EngineStats(
            num_running=self.scheduler.num_running,
            num_waiting=self.scheduler.num_waiting,
            num_waiting_tokens=self.scheduler.num_waiting_tokens,
            num_blocks=self.scheduler.pool.num_blocks,
            num_used_blocks=usage.used,
            num_cached_blocks=usage.cached,
            num_free_blocks=usage.free,
        )

    def check_integrity(self) -> None:
        """Assert the invariants of sequences and blocks."""
        self.scheduler.check_integrity()

    def close(self) -> None:
        self._executor.close()

    def _report_admissions(self) -> None:
        for admission in self.scheduler.admissions:
            queue_time_s = time.monotonic() - self._arrivals_s.pop(admission.request_id)
            self.observer.on_admitted(queue_time_s, admission.num_prompt_tokens, admission.num_cached_tokens)

    def _report_step(self, plan: StepPlan, result: StepResult, start_s: float, num_preemptions: int) -> None:
        num_decode = sum(row.samples and row.num_tokens == 1 for row in plan.rows)
        self.observer.on_step(
            StepStats(
                step_time_s=time.monotonic() - start_s,
                model_time_s=result.model_time_s,
                num_prefill_tokens=plan.num_tokens - num_decode,
                num_decode_tokens=num_decode,
                num_preemptions=num_preemptions,
            )
        )

    def _report_finished(self, events: list[TokenEvent]) -> None:
        for event in events:
            if event.finish_reason is not None:
                self.observer.on_finished(event.finish_reason, event.offset + len(event.token_ids))
