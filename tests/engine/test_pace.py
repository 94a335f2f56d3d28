"""When the next step is planned."""

import pytest

from llama4coder.engine.pace import StepPace


def test_a_step_of_unknown_length_is_planned_behind_at_once() -> None:
    assert StepPace().lead_after_s(7) == 0.0


def test_the_next_step_is_planned_shortly_before_the_running_one_should_end() -> None:
    pace = StepPace()
    pace.observe(5, 0.030)
    pace.observe(500, 0.400)
    assert 0.020 < pace.lead_after_s(6) < 0.030, "6 tokens are about 5"
    assert 0.380 < pace.lead_after_s(400) < 0.400
    assert pace.lead_after_s(50) == 0.0


def test_short_steps_are_planned_at_once_and_the_last_observation_counts() -> None:
    pace = StepPace()
    pace.observe(1, 0.050)
    pace.observe(1, 0.001)
    assert pace.lead_after_s(1) == 0.0
    pace.observe(1, 0.010)
    assert pace.lead_after_s(1) == pytest.approx(0.007)
