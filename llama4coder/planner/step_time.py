"""How long a step takes: what planner, simulator and draft-length policy ask."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from llama4coder.planner.step_load import StepLoad


class StepPart(StrEnum):
    """Where the time of a step goes."""

    WEIGHTS = "products with weights"  # products with the layers' matrices and the head
    ATTENTION = "attention"
    SMALL = "small kernels"  # norms, rotations, activations, sampling
    COLLECTIVES = "collectives"
    HOST = "host"  # what of scheduling, launching and sampling is not hidden behind the device


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds of one step, part by part; parts that take none may be missing."""

    parts_s: Mapping[StepPart, float]

    @property
    def total_s(self) -> float:
        return sum(self.parts_s.values())

    @property
    def bound(self) -> StepPart:
        """What takes the most."""
        return max(self.parts_s, key=lambda part: self.parts_s[part])


class StepTimes(Protocol):
    """Predicts steps of one replica. Pure: equal loads take equal times; more of anything never takes less.

    A load without tokens takes no time.
    """

    def step(self, load: StepLoad) -> StepTime: ...
