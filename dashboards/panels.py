"""What a dashboard is made of, whoever draws it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Grafana's names."""

    LINES = "timeseries"
    NUMBER = "stat"


class Unit(StrEnum):
    """Grafana's names."""

    COUNT = "short"
    SECONDS = "s"
    BYTES = "bytes"
    SHARE = "percentunit"
    REQUESTS_PER_S = "reqps"
    PER_S = "cps"
    DAYS = "d"
    FACTOR = "none"


class Colour(StrEnum):
    """Grafana's names."""

    GOOD = "green"
    WARNING = "orange"
    BAD = "red"


@dataclass(frozen=True, slots=True)
class Query:
    """A line, or several; `legend` names each by its labels, as `{{label}}`."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Threshold:
    """From this value on."""

    value: float
    colour: Colour


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture, or one number."""

    title: str
    unit: Unit
    queries: Sequence[Query]
    note: str = ""
    kind: Kind = Kind.LINES
    thresholds: Sequence[Threshold] = ()
    is_stacked: bool = False
    lowest_is_zero: bool = True
    highest: float | None = None  # of the axis


@dataclass(frozen=True, slots=True)
class Section:
    """Panels that belong together."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard; `uid` is its address in Grafana."""

    uid: str
    title: str
    meaning: str
    sections: Sequence[Section]

    @property
    def panels(self) -> Sequence[Panel]:
        return [panel for section in self.sections for panel in section.panels]


def number(title: str, unit: Unit, expression: str, *thresholds: Threshold, note: str = "") -> Panel:
    """A single figure."""
    return Panel(title, unit, (Query(expression, title),), note, Kind.NUMBER, thresholds)


def warn_from(warning: float, bad: float) -> tuple[Threshold, Threshold]:
    """High is bad."""
    return Threshold(warning, Colour.WARNING), Threshold(bad, Colour.BAD)
