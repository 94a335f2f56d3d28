"""The ranks of a replica without a model: steps take the time that is predicted, and outputs end where they are to."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from llama4coder.engine.plan import NewSequence, RowResult, StepPlan, StepResult, StepRow
from llama4coder.planner.step_time import StepTimes
from llama4coder.simulator.agenda import EngineClock
from llama4coder.simulator.arrivals import STOP_TOKEN, Part
from llama4coder.simulator.plan_loads import PlanLoads


@dataclass(frozen=True, slots=True)
class _Known:
    """A sequence as the ranks know it."""

    num_prompt: int
    output: Part

    def token_at(self, place: int) -> int:
        """Of the whole sequence."""
        return STOP_TOKEN if place + 1 - self.num_prompt >= self.output.num_tokens else self.output.token_id


@dataclass(frozen=True, slots=True)
class _Running:
    result: StepResult
    end_s: float


class SimulatedRanks:
    """Implements `Executor` on an engine's clock; `outputs` are by the seed of their request."""

    def __init__(
        self, times: StepTimes, outputs: Mapping[int, Part], clock: EngineClock, loads: PlanLoads, block_move_s: float
    ) -> None:
        self._times = times
        self._loads = loads
        self._outputs = outputs
        self._clock = clock
        self._block_move_s = block_move_s  # of one block to host memory, or back
        self._known: dict[int, _Known] = {}
        self._running: deque[_Running] = deque()
        self._end_s = 0.0
        self.busy_s = 0.0

    def submit(self, plan: StepPlan) -> None:
        """See `Executor.submit`."""
        for seq_id in plan.gone:
            del self._known[seq_id]
        for new in plan.new:
            self._known[new.seq_id] = self._learn(new)
        time_s = self._times.step(self._loads.of(plan)).total_s
        time_s += (len(plan.saves) + len(plan.loads)) * self._block_move_s
        self._end_s = max(self._clock.now_s, self._end_s) + time_s
        self.busy_s += time_s
        rows = tuple(self._execute(row) for row in plan.rows if row.samples)
        self._running.append(_Running(StepResult(plan.step_id, rows, time_s), self._end_s))

    def ready(self, timeout_s: float) -> bool:
        """See `Executor.ready`: waiting is what makes the clock run."""
        end_s = self._running[0].end_s
        self._clock.advance_to(min(self._clock.now_s + timeout_s, end_s))
        return end_s <= self._clock.now_s

    def collect(self, timeout_s: float) -> StepResult:
        """See `Executor.collect`; nothing ever fails here."""
        done = self._running.popleft()
        self._clock.advance_to(done.end_s)
        return done.result

    def close(self) -> None:
        """See `Executor.close`."""
        self._running.clear()

    def _learn(self, new: NewSequence) -> _Known:
        return _Known(new.num_prompt_tokens, self._outputs[new.seed])

    def _execute(self, row: StepRow) -> RowResult:
        """The guesses that are what the output has at their place, and one token more."""
        known, place = self._known[row.seq_id], row.num_known
        token_ids = [known.token_at(place)]
        for guess in row.draft_token_ids:
            if guess != token_ids[-1] or guess == STOP_TOKEN:
                break
            place += 1
            token_ids.append(known.token_at(place))
        return RowResult(row.seq_id, tuple(token_ids))
