"""What every `Executor` must do, whatever carries its plans."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from llama4coder.engine.executor import Executor
from llama4coder.engine.plan import RowResult, StepPlan, StepResult, StepRow
from llama4coder.errors import EngineDead
from llama4coder.types import PositionLogprobs, TokenLogprob

Execute = Callable[[StepPlan], StepResult]
MakeExecutor = Callable[[Execute], Executor]

_TIMEOUT_S = 10.0


def plan_of(step_id: int) -> StepPlan:
    """A plan with one row."""
    return StepPlan(step_id, gone=(), new=(), rows=(StepRow(step_id, 0, 1, (step_id,), samples=True),))


def echo(plan: StepPlan) -> StepResult:
    """A rank that samples each row's sequence id."""
    logprobs = (PositionLogprobs(TokenLogprob(1, -0.5), (TokenLogprob(2, -0.25),)),)
    rows = tuple(RowResult(row.seq_id, (row.seq_id,), logprobs) for row in plan.rows)
    return StepResult(plan.step_id, rows, model_time_s=0.001)


def broken(plan: StepPlan) -> StepResult:
    """A rank that fails at every step."""
    raise ArithmeticError("the reason")


class StalledRank:
    """Its steps end when they are released."""

    def __init__(self) -> None:
        self.release = threading.Event()

    def execute(self, plan: StepPlan) -> StepResult:
        self.release.wait(_TIMEOUT_S)
        return echo(plan)


class ExecutorContract:
    """Subclass it, and give a `make_executor` fixture that yields a `MakeExecutor`."""

    @pytest.fixture
    def make_executor(self) -> Iterator[MakeExecutor]:
        raise NotImplementedError

    def test_result_is_what_the_rank_computed(self, make_executor: MakeExecutor) -> None:
        executor = make_executor(echo)
        executor.submit(plan_of(7))
        assert executor.collect(_TIMEOUT_S) == echo(plan_of(7))
        executor.close()

    def test_two_outstanding_plans_come_back_in_order(self, make_executor: MakeExecutor) -> None:
        executed: list[int] = []

        def execute(plan: StepPlan) -> StepResult:
            executed.append(plan.step_id)
            return echo(plan)

        executor = make_executor(execute)
        for first in range(0, 20, 2):
            executor.submit(plan_of(first))
            executor.submit(plan_of(first + 1))
            assert [executor.collect(_TIMEOUT_S).step_id for _ in range(2)] == [first, first + 1]
        assert executed == list(range(20))
        executor.close()

    def test_submit_does_not_wait_for_the_step(self, make_executor: MakeExecutor) -> None:
        rank = StalledRank()
        executor = make_executor(rank.execute)
        executor.submit(plan_of(1))
        executor.submit(plan_of(2))
        rank.release.set()
        assert executor.collect(_TIMEOUT_S).step_id == 1
        assert executor.collect(_TIMEOUT_S).step_id == 2
        executor.close()

    def test_ready_tells_whether_collect_would_wait(self, make_executor: MakeExecutor) -> None:
        rank = StalledRank()
        executor = make_executor(rank.execute)
        executor.submit(plan_of(1))
        start_s = time.monotonic()
        assert not executor.ready(0.0)
        assert not executor.ready(0.2)
        assert time.monotonic() - start_s > 0.15
        rank.release.set()
        assert executor.ready(_TIMEOUT_S) and executor.ready(0.0)
        assert executor.collect(_TIMEOUT_S).step_id == 1
        assert not executor.ready(0.0), "its result has been collected"
        executor.close()

    def test_a_failed_rank_is_ready_and_collect_tells(self, make_executor: MakeExecutor) -> None:
        executor = make_executor(broken)
        executor.submit(plan_of(1))
        assert executor.ready(_TIMEOUT_S)
        with pytest.raises(EngineDead):
            executor.collect(_TIMEOUT_S)
        executor.close()

    def test_failed_step_kills_the_executor(self, make_executor: MakeExecutor) -> None:
        executor = make_executor(broken)
        executor.submit(plan_of(1))
        with pytest.raises(EngineDead, match="ArithmeticError") as caught:
            executor.collect(_TIMEOUT_S)
        assert "the reason" not in str(caught.value), "a message may hold a prompt"
        with pytest.raises(EngineDead):
            executor.submit(plan_of(2))
        with pytest.raises(EngineDead):
            executor.collect(_TIMEOUT_S)
        executor.close()

    def test_silent_rank_is_dead_after_the_timeout(self, make_executor: MakeExecutor) -> None:
        rank = StalledRank()
        executor = make_executor(rank.execute)
        executor.submit(plan_of(1))
        start_s = time.monotonic()
        with pytest.raises(EngineDead):
            executor.collect(0.3)
        assert 0.25 < time.monotonic() - start_s < 3.0
        with pytest.raises(EngineDead):
            executor.submit(plan_of(2))
        rank.release.set()
        executor.close()

    def test_close_is_idempotent_and_final(self, make_executor: MakeExecutor) -> None:
        executor = make_executor(echo)
        executor.close()
        executor.close()
        with pytest.raises(EngineDead):
            executor.submit(plan_of(1))
