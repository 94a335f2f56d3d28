"""The in-process executor and backend against the suites that every implementation passes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from llama4coder.engine.async_engine import AsyncEngine
from llama4coder.engine.engine import Engine
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.engine.plan import StepPlan, StepResult
from llama4coder.engine.runner import ModelRunner
from llama4coder.engine.thread import EngineThread, QueueLimits
from llama4coder.obs.metrics import Metrics
from llama4coder.progress import NullProgress
from tests.support.backend_contract import BackendContract, Subject, make_request
from tests.support.engines import resolved
from tests.support.executor_contract import ExecutorContract, MakeExecutor
from tests.support.models import write_tiny_llama


class TestLocalExecutor(ExecutorContract):
    @pytest.fixture
    def make_executor(self) -> Iterator[MakeExecutor]:
        yield LocalExecutor


class _Mortal:
    """A runner that can be made to fail."""

    def __init__(self, runner: ModelRunner) -> None:
        self.dies = False
        self._runner = runner

    def execute(self, plan: StepPlan) -> StepResult:
        if self.dies:
            raise RuntimeError("killed by the test")
        return self._runner.execute(plan)


class TestAsyncEngine(BackendContract):
    @pytest.fixture
    def subject(self, tmp_path: Path) -> Iterator[Subject]:
        write_tiny_llama(tmp_path)
        config = resolved(tmp_path, num_blocks=64)
        rank = _Mortal(ModelRunner.load(config, NullProgress()))
        metrics = Metrics(CollectorRegistry())
        thread = EngineThread(Engine(config, LocalExecutor(rank.execute), metrics), QueueLimits(8, 100))
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
