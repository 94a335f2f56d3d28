"""When to come back, by how fast the queue has moved."""

import pytest

from llama4coder.engine.queue_forecast import QueueForecast


def moved_every(interval_s: float, num_admissions: int = 100, at_once: int = 1) -> QueueForecast:
    forecast = QueueForecast()
    now_s = 0.0
    forecast.observe(now_s, 0, 5)
    for _ in range(num_admissions):
        now_s += interval_s
        forecast.observe(now_s, at_once, 5)
    return forecast


@pytest.mark.parametrize("interval_s", [0.2, 1.5, 4.0])
def test_it_is_as_long_as_those_ahead_will_take(interval_s: float) -> None:
    assert moved_every(interval_s).retry_after_s(20) == pytest.approx(20 * interval_s, rel=0.01)


def test_several_at_once_are_that_much_faster() -> None:
    assert moved_every(2.0, at_once=4).retry_after_s(20) == pytest.approx(10.0, rel=0.01)


def test_steps_that_admit_nobody_count_as_waiting() -> None:
    forecast = QueueForecast()
    for step in range(1001):
        forecast.observe(0.1 * step, int(step % 20 == 0 and step > 0), 3)
    assert forecast.retry_after_s(10) == pytest.approx(20.0, rel=0.01)


def test_the_time_without_a_queue_does_not_count() -> None:
    forecast = QueueForecast()
    for hour in range(50):
        forecast.observe(3600.0 * hour, 1, 0)  # admitted at once
        forecast.observe(3600.0 * hour + 1.0, 0, 1)
        forecast.observe(3600.0 * hour + 3.0, 1, 0)  # had to wait for two seconds
    assert forecast.retry_after_s(10) == pytest.approx(20.0, rel=0.02)


def test_the_last_admissions_count_most() -> None:
    forecast = moved_every(10.0)
    forecast.observe(1000.0, 0, 5)
    for index in range(1, 60):
        forecast.observe(1000.0 + 0.5 * index, 1, 5)
    assert forecast.retry_after_s(10) == pytest.approx(5.0, rel=0.1)


def test_it_is_bounded() -> None:
    assert moved_every(0.001).retry_after_s(1) == 1.0
    assert moved_every(60.0).retry_after_s(100) == 600.0
    assert QueueForecast().retry_after_s(0) == 1.0
    assert QueueForecast().retry_after_s(30) == 30.0, "a second for each until it knows better"
