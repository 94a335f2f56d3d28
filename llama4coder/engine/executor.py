"""How an engine reaches its ranks."""

from dataclasses import dataclass
from typing import Protocol

from llama4coder.engine.plan import StepPlan, StepResult


class Executor(Protocol):
    """Carries plans to every rank and results back; implemented in process, over ZMQ, and by fakes.

    Contract, checked by one suite on every implementation:
    - Plans are executed in the order of `submit`; `collect` returns their results in that order.
    - `submit` does not wait for the step. At least two plans may be outstanding.
    - `ready` waits up to `timeout_s` for the oldest outstanding result and says whether it is there; it never raises.
      A rank that has failed counts as ready: `collect` tells.
    - `collect` raises `EngineDead` when a rank has failed or has not answered within `timeout_s`; after that the
      executor is dead and every call raises.
    - `close` is idempotent and leaves no process, thread or socket behind.
    """

    def submit(self, plan: StepPlan) -> None: ...

    def ready(self, timeout_s: float) -> bool: ...

    def collect(self, timeout_s: float) -> StepResult: ...

    def close(self) -> None: ...


class LaunchedStep(Protocol):
    """A step that a rank has been given; on a GPU it may still run. For one thread, not necessarily the rank's."""

    def is_done(self) -> bool: ...

    def result(self) -> StepResult:
        """Wait for it; raises what broke it."""
        ...


@dataclass(frozen=True, slots=True)
class DoneStep:
    """Implements `LaunchedStep` for ranks whose steps are over when they return."""

    outcome: StepResult

    def is_done(self) -> bool:
        """See `LaunchedStep.is_done`."""
        return True

    def result(self) -> StepResult:
        """See `LaunchedStep.result`."""
        return self.outcome
