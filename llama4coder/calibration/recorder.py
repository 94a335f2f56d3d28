"""What each step of an engine computed, and how long it took."""

from collections import deque
from dataclasses import dataclass

from llama4coder.engine.executor import Executor
from llama4coder.engine.plan import StepPlan, StepResult
from llama4coder.obs.stats import NullObserver, StepStats
from llama4coder.planner.step_load import StepLoad
from llama4coder.simulator.plan_loads import PlanLoads


@dataclass(frozen=True, slots=True)
class TimedStep:
    """One step, as an engine saw it: host and ranks."""

    load: StepLoad
    time_s: float


class StepRecorder(NullObserver):
    """An `EngineObserver`, and an `Executor` in front of another: one knows the times, the other the loads."""

    def __init__(self, executor: Executor, block_size: int) -> None:
        self._executor = executor
        self._plans = PlanLoads(block_size)
        self._loads: deque[StepLoad] = deque()  # of steps under way
        self.steps: list[TimedStep] = []

    def submit(self, plan: StepPlan) -> None:
        """See `Executor.submit`."""
        self._loads.append(self._plans.of(plan))
        self._executor.submit(plan)

    def ready(self, timeout_s: float) -> bool:
        """See `Executor.ready`."""
        return self._executor.ready(timeout_s)

    def collect(self, timeout_s: float) -> StepResult:
        """See `Executor.collect`."""
        return self._executor.collect(timeout_s)

    def close(self) -> None:
        """See `Executor.close`."""
        self._executor.close()

    def on_step(self, stats: StepStats) -> None:
        """Keep a step that has been committed; those that only tell the ranks what to forget compute nothing.

        A step that was over before the one before it was collected has taken its ranks' time all the same.
        """
        load = self._loads.popleft()
        if load.num_tokens:
            self.steps.append(TimedStep(load, max(stats.step_time_s, stats.model_time_s)))
