"""How much an admission should reserve for an output: the scheduler with simulated ranks, by quantile.

    python tests/bench/reserving.py

Lengths are log-normal, as in a chat: prompts with a median of 1,000 tokens, outputs with one of 130. Clients leave
`max_tokens` at all that fits, and blocks are scarce. A step takes a fixed time and a time per token, in the proportion
of a GPU that is bound by memory. No model runs: the figures are the same on every machine.
"""

import random
from dataclasses import dataclass

from llama4coder.engine.output_lengths import OutputLengths
from llama4coder.engine.plan import RowResult, StepPlan, StepResult
from llama4coder.engine.scheduler import Scheduler, SchedulerLimits
from llama4coder.kv.block_pool import BlockPool
from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions

_CONTEXT = 8192
_NUM_REQUESTS = 1500
_NUM_BLOCKS = 1024
_STEP_MS = 10.0
_TOKEN_MS = 0.02
_STOP_ID = 1


class SimulatedRank:
    """Ends each sequence at a length of its own."""

    def __init__(self, lengths: dict[str, int]) -> None:
        self._lengths = lengths  # of prompt and output, by the prompt's first token
        self._end: dict[int, int] = {}
        self.time_ms = 0.0

    def execute(self, plan: StepPlan) -> StepResult:
        """Sample nothing in particular, and the stop token where a sequence is to end."""
        for new in plan.new:
            self._end[new.seq_id] = self._lengths[str(new.token_ids[0])]
        self.time_ms += _STEP_MS + _TOKEN_MS * plan.num_tokens
        rows = [
            RowResult(row.seq_id, (_STOP_ID if row.num_known + 1 >= self._end[row.seq_id] else 0,))
            for row in plan.rows
            if row.samples
        ]
        return StepResult(plan.step_id, tuple(rows), 0.0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    tokens_per_s: float  # of output
    num_preemptions: int
    num_recomputed: int


def run(quantile: float) -> Outcome:
    """All requests at once, to the last."""
    chance = random.Random(0)
    limits = SchedulerLimits(BLOCK_SIZE, _CONTEXT, 64, 512, True, 1e9, 30.0)
    scheduler = Scheduler(BlockPool(_NUM_BLOCKS), limits)
    scheduler.output_lengths = OutputLengths(quantile)
    lengths: dict[str, int] = {}
    num_output = 0
    for index in range(_NUM_REQUESTS):
        num_prompt = min(4000, max(1, int(chance.lognormvariate(0, 1) * 1000)))
        output = min(4000, max(1, int(chance.lognormvariate(0, 1) * 130)))
        num_output += output
        lengths[str(index)] = num_prompt + output
        stop = StopConditions(_CONTEXT - num_prompt, stop_token_ids=frozenset({_STOP_ID}))
        prompt = (index,) * num_prompt
        scheduler.add(GenerateRequest(str(index), prompt, SamplingParams(), stop, seed=0), float(index))
    rank = SimulatedRank(lengths)
    num_recomputed = 0
    while scheduler.has_work:
        plan = scheduler.schedule()
        assert plan is not None
        num_recomputed += sum(back.num_recomputed_tokens for back in scheduler.readmissions)
        scheduler.commit(plan, rank.execute(plan))
    return Outcome(1000 * num_output / rank.time_ms, scheduler.num_preemptions, num_recomputed)


def main() -> None:
    """Print a table."""
    for quantile in (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99):
        print(f"quantile {quantile}: {run(quantile)}", flush=True)


if __name__ == "__main__":
    main()
