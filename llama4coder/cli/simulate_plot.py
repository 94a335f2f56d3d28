"""A simulation's timeline as a picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from llama4coder.simulator.timeline import Moment, Timeline

_WIDTH, _HEIGHT, _LEFT, _GAP = 900, 150, 70, 45


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    colour: str
    values: Sequence[float]


def svg(timeline: Timeline, title: str) -> str:
    """Three panels over one axis of time."""
    moments = timeline.moments
    times_s = [moment.time_s for moment in moments]
    panels = (
        ("replicas", _replicas(moments)),
        (
            "requests",
            [
                _Line("running", "#2f855a", _values(moments, lambda one: one.num_running)),
                _Line("waiting", "#c53030", _values(moments, lambda one: one.num_waiting)),
            ],
        ),
        ("output tokens/s", [_Line("", "#6b46c1", _rates(moments))]),
    )
    height = len(panels) * (_HEIGHT + _GAP) + _GAP
    drawn = "".join(_panel(name, lines, times_s, index) for index, (name, lines) in enumerate(panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH + _LEFT + 30}" height="{height}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="{_LEFT}" y="20" font-size="14">{escape(title)}</text>{drawn}</svg>\n'
    )


def _replicas(moments: Sequence[Moment]) -> list[_Line]:
    targets = _Line("live", "#2b6cb0", _values(moments, lambda one: one.num_live))
    drafting = _Line("drafting", "#b7791f", _values(moments, lambda one: one.num_drafting))
    return [targets, drafting] if any(drafting.values) else [targets]


def _values(moments: Sequence[Moment], of: Callable[[Moment], int]) -> list[float]:
    return [float(of(moment)) for moment in moments]


def _rates(moments: Sequence[Moment]) -> list[float]:
    """Tokens per second since the moment before."""
    rates = [
        (later.num_tokens - earlier.num_tokens) / (later.time_s - earlier.time_s)
        if later.time_s > earlier.time_s
        else 0
        for earlier, later in pairwise(moments)
    ]
    return [0.0, *rates]


def _panel(name: str, lines: Sequence[_Line], times_s: Sequence[float], index: int) -> str:
    top = _GAP + index * (_HEIGHT + _GAP)
    most = max((value for line in lines for value in line.values), default=0.0) or 1.0
    end_s = times_s[-1] or 1.0
    frame = f'<rect x="{_LEFT}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="#bbb"/>'
    labels = (
        f'<text x="{_LEFT}" y="{top - 5}">{escape(name)}</text>'
        f'<text x="{_LEFT - 5}" y="{top + 12}" text-anchor="end">{most:,.0f}</text>'
        f'<text x="{_LEFT - 5}" y="{top + _HEIGHT}" text-anchor="end">0</text>'
        f'<text x="{_LEFT + _WIDTH}" y="{top + _HEIGHT + 15}" text-anchor="end">{end_s:,.0f} s</text>'
    )
    return frame + labels + "".join(_drawn(line, times_s, top, most, place) for place, line in enumerate(lines))


def _drawn(line: _Line, times_s: Sequence[float], top: float, most: float, place: int) -> str:
    end_s = times_s[-1] or 1.0
    points = " ".join(
        f"{_LEFT + _WIDTH * time_s / end_s:.1f},{top + _HEIGHT * (1 - value / most):.1f}"
        for time_s, value in zip(times_s, line.values, strict=True)
    )
    label = f'<text x="{_LEFT + 120 + 80 * place}" y="{top - 5}" fill="{line.colour}">{escape(line.name)}</text>'
    return f'<polyline points="{points}" fill="none" stroke="{line.colour}"/>{label}'
