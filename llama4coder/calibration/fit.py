"""The table that explains measured steps best: the least relative errors, and nothing that falls with the load."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

import numpy as np

from llama4coder.calibration.least_squares import Floats, solve_non_negative
from llama4coder.calibration.recorder import TimedStep
from llama4coder.errors import ConfigError
from llama4coder.planner.calibrated import CalibratedTimes, MeasuredSteps
from llama4coder.planner.step_load import StepLoad

_KNOTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096, 8192, 16384)
_FEWEST_SIZES = 3
_NUM_EXTRA = 4  # sampled tokens, tokens read for the first time and again, pairs
_ROUNDS = 20
_SMALL_ERROR = 0.01  # below which errors count by their squares
_LEAST_S = 1e-7  # of a step


class StepKind(StrEnum):
    """What a step is made of."""

    DECODE = "decode"
    PREFILL = "prefill"
    MIXED = "mixed"

    @classmethod
    def of(cls, load: StepLoad) -> "StepKind":
        if load.is_decode_only:
            return cls.DECODE
        return cls.MIXED if load.num_decode_rows else cls.PREFILL


@dataclass(frozen=True, slots=True)
class FitError:
    """Of one kind of steps: predicted against measured medians of equal steps, as shares of these."""

    kind: StepKind
    num_steps: int
    median: float
    largest: float
    shortest_s: float
    longest_s: float


@dataclass(frozen=True, slots=True)
class Fit:
    """A table, and how far it is from what it was made of."""

    steps: MeasuredSteps
    errors: tuple[FitError, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """Steps of a trial that are alike, as the one in their middle: others had the processor to share."""

    middle: TimedStep
    num_steps: int


def cells_of(groups: Iterable[Sequence[TimedStep]]) -> list[Cell]:
    """Of each trial, one for every number of tokens and rows."""
    cells = []
    for steps in groups:
        alike: dict[tuple[int, int, int], list[TimedStep]] = defaultdict(list)
        for step in steps:
            load = step.load
            alike[load.num_tokens, load.num_decode_rows, load.num_sampled].append(step)
        for those in alike.values():
            ranked = sorted(those, key=lambda step: step.time_s)
            cells.append(Cell(ranked[len(ranked) // 2], len(ranked)))
    return cells


def fit_steps(cells: Sequence[Cell]) -> Fit:
    """Explain them.

    Raises:
        ConfigError: they are of too few sizes to tell what a step takes.
    """
    sizes = {cell.middle.load.num_tokens for cell in cells}
    if len(sizes) < _FEWEST_SIZES:
        raise ConfigError(
            f"steps of {len(sizes)} sizes are too few to tell what a step takes, {_FEWEST_SIZES} are needed: "
            "allow more with --max-step-tokens, --max-sequences or --context"
        )
    knots = _knots(sizes)
    times_s = np.array([cell.middle.time_s for cell in cells])
    features = np.array([_features(cell.middle.load, knots) for cell in cells])
    steps = _steps(_least_relative(features, times_s), knots)
    if not any(cell.middle.load.num_reread_tokens for cell in cells):
        steps = replace(steps, reread_s=steps.read_s)  # nothing says that it is less
    return Fit(steps, _errors(cells, CalibratedTimes(steps)))


def _knots(sizes: set[int]) -> list[int]:
    """As few that each piece has a measured size in it; steps larger than all of them go on like the last."""
    knots = [min(sizes)]
    for knot in (*_KNOTS, max(sizes)):
        if knots[-1] < knot <= max(sizes) and any(knots[-1] < size <= knot for size in sizes):
            knots.append(knot)
    return knots


def _least_relative(features: Floats, times_s: Floats) -> Floats:
    """Coefficients with the least sum of relative errors, by least squares whose weights follow from those before.

    Errors are of what is predicted, and not squared: a step that something else has held up, or one that was over when
    somebody looked, would count for more than many others.
    """
    weights = 1 / times_s
    solved = np.zeros(features.shape[1])
    for _ in range(_ROUNDS):
        solved = solve_non_negative(features * weights[:, None], times_s * weights)
        predicted_s = np.maximum(features @ solved, _LEAST_S)
        errors = np.maximum(np.abs(times_s / predicted_s - 1), _SMALL_ERROR)
        weights = 1 / (predicted_s * np.sqrt(errors))
    return solved


def _features(load: StepLoad, knots: Sequence[int]) -> list[float]:
    """What each coefficient stands before: one per step, tokens by pieces, and the others."""
    pieces = [max(0, min(load.num_tokens, most) - least) for least, most in pairwise(knots)]
    num_first = load.num_read_tokens - load.num_reread_tokens
    return [1.0, *pieces, load.num_sampled, num_first, load.num_reread_tokens, load.num_prefill_pairs]


def _steps(solved: Floats, knots: Sequence[int]) -> MeasuredSteps:
    slopes, extra = solved[1:-_NUM_EXTRA], solved[-_NUM_EXTRA:]
    rises = slopes * np.diff(np.array(knots))
    seconds = solved[0] + np.concatenate([[0.0], np.cumsum(rises)])
    return MeasuredSteps(tuple(knots), tuple(float(each) for each in seconds), *(float(each) for each in extra))


def _errors(cells: Sequence[Cell], times: CalibratedTimes) -> tuple[FitError, ...]:
    by_kind: dict[StepKind, list[Cell]] = defaultdict(list)
    for cell in cells:
        by_kind[StepKind.of(cell.middle.load)].append(cell)
    return tuple(_error(kind, by_kind[kind], times) for kind in StepKind if by_kind[kind])


def _error(kind: StepKind, cells: Sequence[Cell], times: CalibratedTimes) -> FitError:
    measured_s = [cell.middle.time_s for cell in cells]
    shares = [abs(times.step(cell.middle.load).total_s / cell.middle.time_s - 1) for cell in cells]
    return FitError(
        kind,
        sum(cell.num_steps for cell in cells),
        float(np.median(shares)),
        max(shares),
        min(measured_s),
        max(measured_s),
    )
