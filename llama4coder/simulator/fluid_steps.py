"""Times of the steps of a mean replica, whose rows and tokens are no whole numbers."""

import math
from dataclasses import dataclass

from llama4coder.planner.step_load import StepLoad
from llama4coder.planner.step_time import StepTimes


@dataclass(frozen=True, slots=True)
class MeanSteps:
    """Of sequences that are alike."""

    times: StepTimes
    max_step_tokens: int
    row_context: float  # tokens that a generating sequence reads
    prompt_context: float  # keys that a token of a prompt meets
    prompt_tokens: float  # of one prompt, to be computed

    def room(self, rows: float) -> float:
        """Tokens of prompts for which a step has room."""
        return max(1.0, self.max_step_tokens - rows)

    def step_s(self, rows: float, prefilled: float) -> float:
        """Between the times of the whole numbers of rows beside it."""
        below = math.floor(rows)
        lower_s, upper_s = self._step_s(below, prefilled), self._step_s(below + 1, prefilled)
        return lower_s + (rows - below) * (upper_s - lower_s)

    def token_s(self, rows: float) -> float:
        """What a further token of a prompt takes in a step that has many."""
        room = self.room(rows)
        return (self.step_s(rows, room) - self.step_s(rows, 1.0)) / room

    def _step_s(self, rows: int, prefilled: float) -> float:
        load = StepLoad.decoding(rows, round(rows * self.row_context))
        num_prompts = max(1, round(prefilled / self.prompt_tokens)) if prefilled else 0
        pairs = round(prefilled * self.prompt_context)
        load += StepLoad(round(prefilled), num_prompts, 0, 0, round(prefilled), pairs)
        return self.times.step(load).total_s
