"""An executor whose one rank lives in the same process, on a thread of its own."""

import contextlib
import logging
import queue
import threading
from collections.abc import Callable

from llama4coder.engine.plan import StepPlan, StepResult
from llama4coder.errors import EngineDead
from llama4coder.faults import log_fault

_log = logging.getLogger(__name__)


class LocalExecutor:
    """Runs plans by `execute` on a worker thread, so that the caller can prepare the next one meanwhile."""

    def __init__(self, execute: Callable[[StepPlan], StepResult]) -> None:
        self._execute = execute
        self._plans: queue.SimpleQueue[StepPlan | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[StepResult | EngineDead] = queue.SimpleQueue()
        self._next: StepResult | EngineDead | None = None  # taken from the queue, not yet collected
        self._death: EngineDead | None = None
        self._thread = threading.Thread(target=self._run, name="rank", daemon=True)
        self._thread.start()

    def submit(self, plan: StepPlan) -> None:
        """See `Executor.submit`."""
        self._check()
        self._plans.put(plan)

    def ready(self, timeout_s: float) -> bool:
        """See `Executor.ready`."""
        if self._next is None:
            with contextlib.suppress(queue.Empty):
                self._next = self._results.get(timeout=timeout_s)
        return self._next is not None

    def collect(self, timeout_s: float) -> StepResult:
        """See `Executor.collect`."""
        self._check()
        self.ready(timeout_s)
        result = self._next or EngineDead(f"the rank did not answer within {timeout_s:g} s")
        self._next = None
        if isinstance(result, EngineDead):
            self._death = result
            raise result
        return result

    def close(self) -> None:
        """See `Executor.close`."""
        self._death = self._death or EngineDead("the executor is closed")
        self._plans.put(None)
        self._thread.join()

    def _check(self) -> None:
        if self._death is not None:
            raise self._death

    def _run(self) -> None:
        while (plan := self._plans.get()) is not None:
            try:
                self._results.put(self._execute(plan))
            except Exception as error:  # noqa: BLE001 - whatever a step raises must reach the engine
                log_fault(_log, "the rank failed", error)
                self._results.put(EngineDead(f"the rank failed: {type(error).__name__}"))
                return
