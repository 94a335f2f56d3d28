"""How many replicas a forecast wants at least, by time of week or by date."""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from llama4coder.errors import ConfigError

_COLUMNS = ["from", "until", "replicas"]
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_TIME_OF_WEEK = re.compile(rf"({'|'.join(_DAYS)}) ([01]?\d|2[0-3]):([0-5]\d)")
_DAY_S = 86_400.0
_WEEK_S = 7 * _DAY_S


@dataclass(frozen=True, slots=True)
class Span:
    """So many replicas from one time until another: seconds of the week from Monday on, or since 1970."""

    from_s: float
    until_s: float
    num_replicas: int
    is_weekly: bool

    def touches(self, start_s: float, ahead_s: float) -> bool:
        """Whether it has a moment in common with a stretch of time."""
        if not self.is_weekly:
            return self.from_s <= start_s + ahead_s and start_s < self.until_s
        length_s = (self.until_s - self.from_s) % _WEEK_S or _WEEK_S
        return (start_s - self.from_s) % _WEEK_S < length_s or (self.from_s - start_s) % _WEEK_S <= ahead_s


@dataclass(frozen=True, slots=True)
class Forecast:
    """Spans of time; where several hold, the one that wants most."""

    spans: tuple[Span, ...] = ()
    zone: str = "UTC"

    def floor(self, now_s: float, ahead_s: float) -> int:
        """Replicas that should be there now, or until `ahead_s` from now; 0 where nothing is said."""
        if not self.spans:
            return 0
        local = datetime.fromtimestamp(now_s, ZoneInfo(self.zone))
        of_day_s = local.hour * 3600 + local.minute * 60 + local.second + local.microsecond / 1e6
        of_week_s = local.weekday() * _DAY_S + of_day_s
        held = (span for span in self.spans if span.touches(of_week_s if span.is_weekly else now_s, ahead_s))
        return max((span.num_replicas for span in held), default=0)


def parse_forecast(lines: Iterable[str], zone: str, most: int) -> Forecast:
    """Of a CSV file with the columns `from`, `until` and `replicas`; times are `Mon 08:00`, or ISO 8601 dates.

    Its lines may be in any order.

    Raises:
        ConfigError: names the line that cannot be read, or that wants more than `most` replicas, and says what it
            should be.
    """
    rows = csv.reader(lines)
    try:
        header = [name.strip() for name in next(rows, [])]
        if header != _COLUMNS:
            raise ConfigError(f"a forecast's first line must be `{','.join(_COLUMNS)}`, not `{','.join(header)[:80]}`")
        spans = tuple(_span(row, rows.line_num, zone) for row in rows if row)
    except csv.Error as error:
        raise ConfigError(f"line {rows.line_num} of the forecast is no line of a CSV file: {error}") from error
    if not spans:
        raise ConfigError("a forecast must say something: write a line such as `Mon 08:00,Mon 18:00,4` below the first")
    _check_most(max(span.num_replicas for span in spans), most)
    return Forecast(spans, zone)


def _check_most(wanted: int, most: int) -> None:
    if wanted > most:
        raise ConfigError(
            f"the forecast wants {wanted} replicas where {most} are the most that there may be: lower its line, or "
            f"raise scaling.max_replicas"
        )


def _span(row: list[str], number: int, zone: str) -> Span:
    if len(row) != len(_COLUMNS):
        raise ConfigError(f"line {number} of the forecast has {len(row)} columns instead of {len(_COLUMNS)}")
    start, end, replicas = (cell.strip() for cell in row)
    if not replicas.isdecimal():
        raise ConfigError(f"line {number} of the forecast: replicas must be a number such as 4, not {replicas[:40]!r}")
    is_weekly = _TIME_OF_WEEK.fullmatch(start) is not None
    if is_weekly is not (_TIME_OF_WEEK.fullmatch(end) is not None):
        raise ConfigError(f"line {number} of the forecast: both times must be times of week, or dates")
    from_s, until_s = (_seconds(text, number, zone) for text in (start, end))
    if not is_weekly and from_s >= until_s:
        raise ConfigError(f"line {number} of the forecast: `until` must be later than `from`")
    return Span(from_s, until_s, int(replicas), is_weekly)


def _seconds(text: str, number: int, zone: str) -> float:
    weekly = _TIME_OF_WEEK.fullmatch(text)
    if weekly is not None:
        day, hour, minute = weekly.groups()
        return _DAYS.index(day) * _DAY_S + int(hour) * 3600 + int(minute) * 60
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"line {number} of the forecast: {text[:40]!r} is no time such as `Mon 08:00` or `2026-12-01T08:00`"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).timestamp()
