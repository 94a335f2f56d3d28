"""Tables out of steps: known ones are found again, and steps that say too little are refused."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings

from llama4coder.calibration.fit import Fit, StepKind, cells_of, fit_steps
from llama4coder.calibration.least_squares import solve_non_negative
from llama4coder.calibration.recorder import TimedStep
from llama4coder.errors import ConfigError
from llama4coder.planner.calibrated import CalibratedTimes, MeasuredSteps
from llama4coder.planner.step_load import StepLoad
from tests.support.step_times_contract import check_contract, loads

TRUE = CalibratedTimes(MeasuredSteps((1, 4, 8, 16, 512), (0.02, 0.021, 0.03, 0.05, 0.6), 0.0005, 2e-6, 8e-7, 1e-7))
DECODES = [
    [StepLoad.decoding(rows, rows * (context + step)) for step in range(8)]
    for rows in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
    for context in (32, 1000)
]
PREFILLS = [[StepLoad.prefill(size, before)] * 3 for size in (8, 16, 32, 64, 128, 256, 512) for before in (0, 1024)]
SHARING = [
    [replace(StepLoad.decoding(rows, rows * context), num_reread_tokens=(rows - 1) * (context - 16))] * 3
    for rows in (2, 8, 32)
    for context in (500, 1000)
]
MIXED = [[StepLoad.decoding(8, 1000) + StepLoad.prefill(size)] * 3 for size in (64, 256)]


def fitted(noise: float, held_up: float = 0.0) -> Fit:
    """From steps with so much noise, a share of them held up by something else."""
    chance = Random(1)

    def timed(load: StepLoad) -> TimedStep:
        factor = chance.gauss(1, noise) * (5 if chance.random() < held_up else 1)
        return TimedStep(load, TRUE.step(load).total_s * factor)

    return fit_steps(cells_of([[timed(load) for load in group] for group in DECODES + PREFILLS + MIXED + SHARING]))


@pytest.mark.parametrize(("noise", "held_up"), [(0.0, 0.0), (0.03, 0.0), (0.03, 0.1)])
def test_known_coefficients_are_found(noise: float, held_up: float) -> None:
    fit = fitted(noise, held_up)
    precision = 2 * noise + 1e-3
    assert fit.steps.read_s == pytest.approx(2e-6, rel=0.05 + precision)
    assert fit.steps.reread_s == pytest.approx(8e-7, rel=0.05 + precision)
    assert fit.steps.pair_s == pytest.approx(1e-7, rel=0.05 + precision)
    for tokens in (1, 4, 8, 16, 100, 512):
        load = StepLoad.decoding(tokens, tokens * 500)
        assert CalibratedTimes(fit.steps).step(load).total_s == pytest.approx(TRUE.step(load).total_s, rel=precision)
    assert [error.kind for error in fit.errors] == list(StepKind)
    assert max(error.median for error in fit.errors) <= precision


NOISY = CalibratedTimes(fitted(0.3).steps)


@settings(max_examples=30, deadline=None)
@given(load=loads())
def test_whatever_was_measured_more_never_takes_less(load: StepLoad) -> None:
    check_contract(NOISY, load)


def test_too_few_sizes() -> None:
    steps = [[TimedStep(StepLoad.decoding(rows, 32), 0.1)] for rows in (1, 2)]
    with pytest.raises(ConfigError, match=r"steps of 2 sizes are too few .* --max-sequences"):
        fit_steps(cells_of(steps))


def test_least_squares_without_negative_coefficients() -> None:
    matrix = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    assert solve_non_negative(matrix, np.array([3.0, 5.0, 7.0])) == pytest.approx([1.0, 2.0])
    assert solve_non_negative(matrix, np.array([3.0, 2.0, 1.0])) == pytest.approx([2.0, 0.0])
    assert solve_non_negative(matrix, np.array([-1.0, -1.0, -1.0])) == pytest.approx([0.0, 0.0])
    assert solve_non_negative(np.zeros((3, 1)), np.ones(3)) == pytest.approx([0.0])
