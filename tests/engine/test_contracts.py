"""The in-process executor and backend against the suites that every implementation passes."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from llama4coder.engine.async_engine import AsyncEngine
from llama4coder.engine.engine import Engine
from llama4coder.engine.executor import DoneStep, LaunchedStep
from llama4coder.engine.loading_rank import load_runner
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.engine.plan import StepPlan, StepResult
from llama4coder.engine.runner import ModelRunner
from llama4coder.engine.thread import EngineThread, QueueLimits
from llama4coder.errors import QueueTimeout
from llama4coder.obs.metrics import Metrics
from llama4coder.progress import NullProgress
from tests.support.backend_contract import BackendContract, Subject, make_request, run
from tests.support.engines import resolved
from tests.support.executor_contract import Execute, ExecutorContract, MakeExecutor, StalledRank, plan_of
from tests.support.models import write_tiny_llama

REPOSITORY = Path(__file__).resolve().parents[2]


class TestLocalExecutor(ExecutorContract):
    @pytest.fixture
    def make_executor(self) -> Iterator[MakeExecutor]:
        yield lambda execute: LocalExecutor(lambda plan: DoneStep(execute(plan)))


def test_a_local_executor_that_is_dropped_leaves_no_thread() -> None:
    """Nor the model and the KV pool that its thread would keep."""
    before = set(threading.enumerate())
    executor = LocalExecutor(lambda plan: pytest.fail("no plan was submitted"))
    (thread,) = set(threading.enumerate()) - before
    del executor
    thread.join(10)
    assert not thread.is_alive()


_LEFT_OPEN = """
import torch
from llama4coder.engine.local_executor import LocalExecutor
left_open = [LocalExecutor(lambda plan, kept=[torch.empty(9) for _ in range(3000)]: None) for _ in range(40)]
"""


def test_executors_that_nobody_closes_do_not_abort_the_process_at_its_end() -> None:
    """Torch lets go of the interpreter while it drops a tensor, and finds none to come back to."""
    done = subprocess.run(
        [sys.executable, "-c", _LEFT_OPEN], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


class _Device:
    """Steps that run on, like a GPU's, after they were launched."""

    def __init__(self, execute: Execute) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._execute = execute

    def launch(self, plan: StepPlan) -> "_RunningStep":
        return _RunningStep(self._pool.submit(self._execute, plan))


@dataclass(frozen=True)
class _RunningStep:
    future: Future[StepResult]

    def is_done(self) -> bool:
        return self.future.done()

    def result(self) -> StepResult:
        return self.future.result()


class TestLocalExecutorOverADevice(ExecutorContract):
    @pytest.fixture
    def make_executor(self) -> Iterator[MakeExecutor]:
        yield lambda execute: LocalExecutor(_Device(execute).launch)

    def test_the_next_step_is_launched_while_one_runs(self) -> None:
        rank, launched = StalledRank(), []
        device = _Device(rank.execute)

        def launch(plan: StepPlan) -> _RunningStep:
            launched.append(plan.step_id)
            return device.launch(plan)

        executor = LocalExecutor(launch)
        for step_id in (1, 2):
            executor.submit(plan_of(step_id))
        deadline_s = time.monotonic() + 10
        while launched != [1, 2] and time.monotonic() < deadline_s:
            time.sleep(0.01)
        assert launched == [1, 2] and not executor.ready(0.0)
        rank.release.set()
        assert [executor.collect(10).step_id for _ in range(2)] == [1, 2]
        executor.close()


class _Mortal:
    """A runner that can be made to fail."""

    def __init__(self, runner: ModelRunner) -> None:
        self.dies = False
        self._runner = runner

    def launch(self, plan: StepPlan) -> LaunchedStep:
        if self.dies:
            raise RuntimeError("killed by the test")
        return self._runner.launch(plan)


class TestAsyncEngine(BackendContract):
    @pytest.fixture
    def subject(self, tmp_path: Path) -> Iterator[Subject]:
        write_tiny_llama(tmp_path)
        config = resolved(tmp_path, num_blocks=64)
        rank = _Mortal(load_runner(config, NullProgress()))
        metrics = Metrics(CollectorRegistry())
        thread = EngineThread(Engine(config, LocalExecutor(rank.launch), metrics), QueueLimits(8, 100))
        thread.start()

        async def kill() -> None:
            rank.dies = True

        yield Subject(
            backend=AsyncEngine(thread, metrics.render),
            num_running=lambda: thread.stats().num_running + thread.stats().num_waiting,
            impossible=make_request("impossible", max_tokens=100_000),
            kill=kill,
        )
        thread.stop()

    async def test_a_request_that_waits_too_long_ends_before_any_event(self, tmp_path: Path) -> None:
        write_tiny_llama(tmp_path)
        config = resolved(tmp_path, num_blocks=64, max_sequences=1, queue_timeout_s=0.05)
        metrics = Metrics(CollectorRegistry())
        executor = LocalExecutor(load_runner(config, NullProgress()).launch)
        thread = EngineThread(Engine(config, executor, metrics), QueueLimits(1, 100))
        thread.start()
        backend = AsyncEngine(thread, metrics.render)
        async with aclosing(backend.generate(make_request("a", max_tokens=400))) as events:
            await anext(events)
            with pytest.raises(QueueTimeout):
                await run(backend, make_request("b"))
        assert b'admission_rejections_total{reason="queue_timeout"} 1.0' in await backend.metrics()
        assert len(await run(backend, make_request("c", max_tokens=1))) == 1
        thread.stop()
