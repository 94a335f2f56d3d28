"""An executor whose one rank lives in the same process, on a thread of its own."""

import logging
import queue
import threading
import time
import weakref
from collections.abc import Callable

from llama4coder.engine.executor import LaunchedStep
from llama4coder.engine.plan import StepPlan, StepResult
from llama4coder.errors import EngineDead
from llama4coder.faults import log_fault

_POLL_S = 0.0002  # a device is asked this often whether it is done
_EXIT_TIMEOUT_S = 30.0  # for the step that runs when the process ends

_log = logging.getLogger(__name__)


class LocalExecutor:
    """Launches plans on a worker thread, so that the caller can prepare the next one meanwhile.

    On a GPU the next step is launched while the one before it runs; whoever collects waits for the device. The thread
    ends with `close`, or with the executor itself.
    """

    def __init__(self, launch: Callable[[StepPlan], LaunchedStep]) -> None:
        self._plans: queue.SimpleQueue[StepPlan | None] = queue.SimpleQueue()
        self._launched: queue.SimpleQueue[LaunchedStep | EngineDead] = queue.SimpleQueue()
        self._next: LaunchedStep | EngineDead | None = None  # taken from the queue, not yet collected
        self._death: EngineDead | None = None
        work = (launch, self._plans, self._launched)  # not `self`, which the thread would keep for as long as it runs
        self._thread = threading.Thread(target=_run, args=work, name="rank", daemon=True)
        self._thread.start()
        at_exit = weakref.finalize(self, _end, self._plans, self._thread)
        weakref.finalize(self, _let_go, self._plans, at_exit).atexit = False  # the last one made is called first

    def submit(self, plan: StepPlan) -> None:
        """See `Executor.submit`."""
        self._check()
        self._plans.put(plan)

    def ready(self, timeout_s: float) -> bool:
        """See `Executor.ready`."""
        deadline_s = time.monotonic() + timeout_s
        if self._next is None:
            try:
                self._next = self._launched.get(timeout=timeout_s)
            except queue.Empty:
                return False
        if isinstance(self._next, EngineDead):
            return True
        while not self._next.is_done():
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(_POLL_S)
        return True

    def collect(self, timeout_s: float) -> StepResult:
        """See `Executor.collect`."""
        self._check()
        if not self.ready(timeout_s):
            raise self._die(EngineDead(f"the rank did not answer within {timeout_s:g} s"))
        step, self._next = self._next, None
        assert step is not None, "ready"
        if isinstance(step, EngineDead):
            raise self._die(step)
        try:
            return step.result()
        except Exception as error:  # noqa: BLE001 - whatever broke the step on the device
            raise self._die(_death_of(error)) from None

    def close(self) -> None:
        """See `Executor.close`."""
        self._death = self._death or EngineDead("the executor is closed")
        self._plans.put(None)
        self._thread.join()

    def _check(self) -> None:
        if self._death is not None:
            raise self._death

    def _die(self, death: EngineDead) -> EngineDead:
        self._death = death
        return death


def _end(plans: "queue.SimpleQueue[StepPlan | None]", thread: threading.Thread) -> None:
    """At the end of the process: a thread that drops tensors while the interpreter ends aborts all of it."""
    plans.put(None)
    thread.join(_EXIT_TIMEOUT_S)


def _let_go(plans: "queue.SimpleQueue[StepPlan | None]", at_exit: "weakref.finalize[..., LocalExecutor]") -> None:
    """Where the executor is collected, by whatever thread: nobody may wait there."""
    at_exit.detach()
    plans.put(None)


def _run(
    launch: Callable[[StepPlan], LaunchedStep],
    plans: "queue.SimpleQueue[StepPlan | None]",
    launched: "queue.SimpleQueue[LaunchedStep | EngineDead]",
) -> None:
    while (plan := plans.get()) is not None:
        try:
            launched.put(launch(plan))
        except Exception as error:  # noqa: BLE001 - whatever a step raises must reach the engine
            launched.put(_death_of(error))
            return


def _death_of(error: Exception) -> EngineDead:
    log_fault(_log, "the rank failed", error)
    return EngineDead(f"the rank failed: {type(error).__name__}")
