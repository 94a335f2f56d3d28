"""Step times from measured steps: a staircase over the tokens of a step, and what sampling and attention add to it.

Every part grows with the load and none is negative, so that more of anything never takes less.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from llama4coder.planner.step_load import StepLoad
from llama4coder.planner.step_time import StepPart, StepTime


@dataclass(frozen=True, slots=True)
class MeasuredSteps:
    """Seconds of an engine's steps; `seconds` are those of steps of so many `tokens`, both rising."""

    tokens: Sequence[int]
    seconds: Sequence[float]
    sampled_s: float = 0.0  # of each token whose logits are computed
    read_s: float = 0.0  # of each token that generating sequences read
    reread_s: float = 0.0  # of each that another one has just read: a cache may have it
    pair_s: float = 0.0  # of each pair of a query and a key, in chunks of prompts

    def through_layers_s(self, num_tokens: int) -> float:
        """Straight lines between what was measured, and beyond it on as before."""
        tokens, seconds = self.tokens, self.seconds
        place = next((place for place, most in enumerate(tokens) if num_tokens <= most), len(tokens) - 1)
        if place == 0:
            return seconds[0]
        slope_s = (seconds[place] - seconds[place - 1]) / (tokens[place] - tokens[place - 1])
        return seconds[place] + slope_s * (num_tokens - tokens[place])


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What serving adds to an engine alone: its processor time is shared with HTTP, and requests have a way to go."""

    scale: float = 1.0  # by which every step is longer
    row_s: float = 0.0  # of a step, for each sequence whose token is sent
    front_s: float = 0.0  # of each request, before the engine has it and after its first token


ALONE = Surroundings()


@dataclass(frozen=True, slots=True)
class CalibratedTimes:
    """Implements `StepTimes` for the replica that was measured."""

    steps: MeasuredSteps
    around: Surroundings = ALONE

    def step(self, load: StepLoad) -> StepTime:
        """See `StepTimes`."""
        if load.num_tokens == 0:
            return StepTime({})
        steps, scale = self.steps, self.around.scale
        products_s = steps.through_layers_s(load.num_tokens) + load.num_sampled * steps.sampled_s
        num_first = load.num_read_tokens - load.num_reread_tokens
        reads_s = num_first * steps.read_s + load.num_reread_tokens * steps.reread_s
        attention_s = reads_s + load.num_prefill_pairs * steps.pair_s
        return StepTime(
            {
                StepPart.WEIGHTS: scale * products_s,
                StepPart.ATTENTION: scale * attention_s,
                StepPart.HOST: load.num_decode_rows * self.around.row_s,
            }
        )
