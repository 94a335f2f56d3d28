"""Forecasts: what holds when, and what is wrong with a file."""

from datetime import UTC, datetime

import pytest

from llama4coder.errors import ConfigError
from llama4coder.scaling.forecast import Forecast, parse_forecast

HEADER = "from,until,replicas"


def forecast(*lines: str, zone: str = "UTC") -> Forecast:
    return parse_forecast([f"{line}\n" for line in (HEADER, *lines)], zone, most=12)


def at(day: int, hour: int, minute: int = 0) -> float:
    """In November 2026, whose second day is a Monday."""
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC).timestamp()


def test_a_time_of_week_comes_again_every_week() -> None:
    weekly = forecast("Mon 08:00,Mon 18:00,6", "Tue 8:00,Tue 18:00,4")
    assert [weekly.floor(at(day, 12), 0.0) for day in (2, 3, 4, 9, 10)] == [6, 4, 0, 6, 4]
    assert weekly.floor(at(2, 8), 0.0) == 6
    assert weekly.floor(at(2, 18), 0.0) == 0


def test_a_week_may_end_in_between() -> None:
    weekend = forecast("Fri 20:00,Mon 06:00,2")
    assert [weekend.floor(at(day, 12), 0.0) for day in (6, 7, 8, 9)] == [0, 2, 2, 0]
    assert weekend.floor(at(9, 5, 59), 0.0) == 2


def test_a_date_holds_once_and_the_highest_of_several_wins() -> None:
    both = forecast("Mon 08:00,Mon 18:00,6", "2026-11-02T10:00,2026-11-02T11:00,12", "2026-11-02,2026-11-03,3")
    assert [both.floor(at(2, hour), 0.0) for hour in (9, 10, 11, 19)] == [6, 12, 6, 3]
    assert both.floor(at(9, 10), 0.0) == 6


def test_it_is_looked_up_ahead() -> None:
    both = forecast("Mon 08:00,Mon 18:00,6", "2026-11-03T08:00,2026-11-03T18:00,4")
    for day, number in ((2, 6), (3, 4)):
        assert both.floor(at(day, 7, 54), 300.0) == 0
        assert both.floor(at(day, 7, 56), 300.0) == number
        assert both.floor(at(day, 17, 59), 300.0) == number


def test_times_are_those_of_a_zone() -> None:
    berlin = forecast("Mon 08:00,Mon 18:00,6", "2026-11-03T08:00,2026-11-03T18:00,4", zone="Europe/Berlin")
    assert [berlin.floor(at(2, hour), 0.0) for hour in (6, 7, 16, 17)] == [0, 6, 6, 0]
    assert [berlin.floor(at(3, hour), 0.0) for hour in (6, 7, 16, 17)] == [0, 4, 4, 0]
    assert forecast("2026-11-03T08:00+09:00,2026-11-03T18:00,4").floor(at(2, 23), 0.0) == 4


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Mon 08:00,Mon 18:00", "line 2 .* 2 columns instead of 3"),
        ("Mon 08:00,Mon 18:00,six", "line 2 .*not 'six'"),
        ("Mon 08:00,Mon 18:00,-1", "line 2 .*not '-1'"),
        ("Mon 08:00,2026-11-02,1", "line 2 .*both"),
        ("Monday 8,Monday 9,1", "line 2 .*'Monday 8' is no time"),
        ("2026-11-03,2026-11-02,1", "line 2 .*later"),
    ],
)
def test_a_bad_line_is_named(line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        forecast(line)


def test_lines_may_be_in_any_order() -> None:
    lines = ("Tue 08:00,Tue 18:00,4", "2026-11-02T10:00,2026-11-02T11:00,12", "Mon 08:00,Mon 18:00,6")
    one, other = forecast(*lines), forecast(*reversed(lines))
    times_s = [at(day, hour) for day in (2, 3) for hour in range(24)]
    assert [one.floor(now_s, 0.0) for now_s in times_s] == [other.floor(now_s, 0.0) for now_s in times_s]


def test_what_could_never_be_is_told() -> None:
    with pytest.raises(ConfigError, match=r"wants 13 replicas where 12 are the most .* raise scaling\.max_replicas"):
        forecast("Mon 08:00,Mon 18:00,6", "Tue 08:00,Tue 18:00,13")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["time,number\n"], "must be `from,until,replicas`, not `time,number`"),
        (["from;until;replicas\n"], "must be `from,until,replicas`, not `from;until;replicas`"),
        (["Mon 08:00,Mon 18:00,6\n"], "first line must be `from,until,replicas`"),
        ([], "first line"),
        ([f"{HEADER}\n", "\n"], "must say something: write a line such as"),
        ([f"{HEADER}\n", "x" * 200_000], "line 2 of the forecast is no line of a CSV file: field larger"),
    ],
)
def test_what_is_no_forecast_is_told(lines: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_forecast(lines, "UTC", most=4)
