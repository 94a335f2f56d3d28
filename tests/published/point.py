"""Figures that others have published of their engines, and what a plan says of the same."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from llama4coder.planner.candidate import Candidate, Wish
from llama4coder.planner.efficiency import OTHER_ENGINES, Efficiency
from llama4coder.planner.gpus import find_gpu
from llama4coder.planner.plan import step_times
from llama4coder.planner.shapes import find_model
from llama4coder.planner.step_load import StepLoad


@dataclass(frozen=True, slots=True)
class Setting:
    """What was run."""

    model: str
    gpu: str
    wish: Wish

    @property
    def candidate(self) -> Candidate:
        return Candidate.of(find_model(self.model), find_gpu(self.gpu), self.wish)


class Use(Enum):
    """What a point was used for."""

    CHOSEN_BY = "a share was chosen by it"
    HELD_OUT = "not used for any share"


@dataclass(frozen=True, slots=True)
class Point:
    """One published figure."""

    name: str
    unit: str
    published: float
    use: Use
    predict: Callable[[Efficiency], float]
    efficiency: Efficiency = OTHER_ENGINES  # of that engine

    @property
    def planned(self) -> float:
        return self.predict(self.efficiency)

    @property
    def error(self) -> float:
        """Planned over published, less one."""
        return self.planned / self.published - 1


def step_ms(setting: Setting, num_rows: int, context: int) -> Callable[[Efficiency], float]:
    def predict(efficiency: Efficiency) -> float:
        times = step_times(setting.candidate, efficiency)
        return times.step(StepLoad.decoding(num_rows, num_rows * context)).total_s * 1e3

    return predict


def tokens_per_s(setting: Setting, context: int) -> Callable[[Efficiency], float]:
    """Of one sequence alone."""
    alone = step_ms(setting, 1, context)
    return lambda efficiency: 1e3 / alone(efficiency)


def slope_ns(setting: Setting) -> Callable[[Efficiency], float]:
    """Nanoseconds of a step for each token that is read."""
    short, long = step_ms(setting, 1, 0), step_ms(setting, 1, 100_000)
    return lambda efficiency: (long(efficiency) - short(efficiency)) * 1e6 / 100_000
