"""A dashboard as one picture, from what a Prometheus has: where Grafana cannot be had, people can look all the same."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dashboards.grafana import SIZES
from dashboards.panels import Board, Colour, Kind, Panel, Query, Unit
from llama4coder.planner.svg import GRID, INK, Box, Point, document, line, nice_ticks, rect, text
from tests.dashboards.figures import legend, ticks, told
from tests.support.prometheus import Prometheus

CELL = Point(58, 30)  # of Grafana's grid, in pixels
_COLUMNS, _GAP, _TITLE, _LEGEND_ROW, _MOST_NAMES = 24, 8, 44, 14, 6
_STEPS = 120
_SERIES = ("#3274d9", "#e0752d", "#56a64b", "#a352cc", "#c4162a", "#e0b400", "#37872d", "#1f9aa8", "#8f3bb8", "#705da0")
_COLOURS = {Colour.GOOD: "#37872d", Colour.WARNING: "#e0752d", Colour.BAD: "#c4162a"}
_BACK, _PALE = "#f4f5f5", "#6e7077"


@dataclass(frozen=True, slots=True)
class Span:
    """What is shown, in seconds since the epoch; and the labels that Grafana's variables choose."""

    start_s: float
    end_s: float
    deployment: str
    window: str = "30s"

    @property
    def step_s(self) -> float:
        return (self.end_s - self.start_s) / _STEPS

    def filled(self, expression: str) -> str:
        for name, value in (("$__rate_interval", self.window), ("$deployment", self.deployment), ("$replica", ".*")):
            expression = expression.replace(name, value)
        return expression


@dataclass(frozen=True, slots=True)
class Curve:
    """One series of a panel."""

    name: str
    points: Sequence[Point]  # seconds since the start, and the value

    @property
    def last(self) -> float:
        return self.points[-1].y if self.points else math.nan


def picture(board: Board, prometheus: Prometheus, span: Span) -> str:
    """Rows of as many panels as there is room for, as Grafana lays them out: SVG."""
    elements = [text(12, 26, board.title, size=18, weight="bold"), text(12, 44, board.meaning)]
    y = 58.0
    for section in board.sections:
        elements.append(text(12, y + 16, section.title, size=13, weight="bold"))
        x, y, row_height = 0, y + 24, 0.0
        for panel in section.panels:
            size = SIZES[panel.kind]
            height = size.height * CELL.y
            if x + size.width > _COLUMNS or (x and height != row_height):
                x, y = 0, y + row_height
            row_height = height
            box = Box(x * CELL.x + _GAP, y + _GAP / 2, size.width * CELL.x - _GAP, height - _GAP)
            elements += _panel(panel, _curves(panel, prometheus, span), box, span)
            x += size.width
        y += row_height + _GAP
    return document(_COLUMNS * CELL.x + _GAP, y + _GAP, [rect(Box(0, 0, 9999, 9999), _BACK), *elements])


def _curves(panel: Panel, prometheus: Prometheus, span: Span) -> list[Curve]:
    return [curve for query in panel.queries for curve in _answers(query, prometheus, span)]


def _answers(query: Query, prometheus: Prometheus, span: Span) -> Iterator[Curve]:
    for found in prometheus.lines(span.filled(query.expression), span.start_s, span.end_s, span.step_s):
        pairs = zip(found.times_s, found.values, strict=True)
        points = [Point(at_s - span.start_s, value) for at_s, value in pairs if math.isfinite(value)]
        yield Curve(legend(query.legend, found.labels), points)


def _panel(panel: Panel, curves: Sequence[Curve], box: Box, span: Span) -> Iterator[str]:
    yield rect(box, "#ffffff")
    yield text(box.x + 8, box.y + 16, panel.title, weight="bold")
    if not any(curve.points for curve in curves):
        yield text(box.x + box.width / 2, box.y + box.height / 2, "No data", anchor="middle", size=14)
    elif panel.kind is Kind.NUMBER:
        yield from _number(panel, curves, box)
    else:
        yield from _chart(panel, [curve for curve in curves if curve.points], box, span)


def _number(panel: Panel, curves: Sequence[Curve], box: Box) -> Iterator[str]:
    value = curves[0].last
    reached = [_COLOURS[each.colour] for each in panel.thresholds if value >= each.value]
    colour = reached[-1] if reached else _COLOURS[Colour.GOOD]
    shown = f"{value:,.0f}" if panel.unit is Unit.COUNT else told(value, panel.unit)
    content = text(box.x + box.width / 2, box.y + 72, shown, size=30, anchor="middle", weight="bold")
    yield f'<g fill="{colour}">{content}</g>'


@dataclass(frozen=True, slots=True)
class _Axes:
    box: Box
    low: float
    high: float
    duration_s: float

    def x(self, at_s: float) -> float:
        return self.box.x + at_s / self.duration_s * self.box.width

    def y(self, value: float) -> float:
        return self.box.y + self.box.height * (1 - (value - self.low) / (self.high - self.low))


def _chart(panel: Panel, curves: Sequence[Curve], box: Box, span: Span) -> Iterator[str]:
    drawn = _stacked(curves) if panel.is_stacked else curves
    names = curves[:_MOST_NAMES]
    num_rows = -(-len(names) // 2)
    inner = Box(box.x + 76, box.y + 28, box.width - 104, box.height - _TITLE - 12 - _LEGEND_ROW * num_rows)
    axes = _axes_for(panel, drawn, inner, span)
    yield from _grid(axes, panel)
    for threshold in panel.thresholds:
        if axes.low <= threshold.value <= axes.high:
            y = axes.y(threshold.value)
            yield _path([Point(inner.x, y), Point(inner.x + inner.width, y)], _COLOURS[threshold.colour], dashes="4 4")
    for index, curve in reversed(list(enumerate(drawn))):  # of a stack the highest first, the others over it
        for run in _runs(curve.points, 1.5 * span.step_s):
            points = [Point(axes.x(point.x), axes.y(min(max(point.y, axes.low), axes.high))) for point in run]
            if panel.is_stacked:
                yield _area(points, inner, _SERIES[index % len(_SERIES)])
            yield _path(points, _SERIES[index % len(_SERIES)])
    for index, curve in enumerate(names):
        yield from _name(panel, curve, _SERIES[index % len(_SERIES)], _place_of(box, index, num_rows))
    if len(curves) > len(names):
        yield text(box.x + box.width - 8, box.y + 16, f"{len(curves) - len(names)} more", anchor="end")


def _runs(points: Sequence[Point], longest_s: float) -> Iterator[Sequence[Point]]:
    """Parts without a gap: where there was nothing, there is no line."""
    begin = 0
    for end in range(1, len(points) + 1):
        if end == len(points) or points[end].x - points[end - 1].x > longest_s:
            yield points[begin:end]
            begin = end


def _place_of(box: Box, index: int, num_rows: int) -> Point:
    column, row = index % 2, index // 2
    return Point(box.x + 10 + column * box.width / 2, box.y + box.height - 8 - _LEGEND_ROW * (num_rows - 1 - row))


def _name(panel: Panel, curve: Curve, colour: str, at: Point) -> Iterator[str]:
    yield line(Point(at.x, at.y - 4), Point(at.x + 14, at.y - 4), colour, 3)
    name = curve.name if len(curve.name) <= 24 else f"{curve.name[:23]}…"
    yield text(at.x + 20, at.y, f"{name}: {told(curve.last, panel.unit)}")


def _axes_for(panel: Panel, curves: Sequence[Curve], box: Box, span: Span) -> _Axes:
    values = [point.y for curve in curves for point in curve.points]
    low = 0.0 if panel.lowest_is_zero else min(0.0, *values)
    high = panel.highest or 1.08 * max(*values, 0.0)
    if high <= low:
        high = low + (1.0 if low == 0 else -0.1 * low)
    return _Axes(box, low, high, span.end_s - span.start_s)


def _grid(axes: _Axes, panel: Panel) -> Iterator[str]:
    right = axes.box.x + axes.box.width
    for value in ticks(axes.low, axes.high, panel.unit):
        yield line(Point(axes.box.x, axes.y(value)), Point(right, axes.y(value)), GRID)
        yield f'<g fill="{_PALE}">{text(axes.box.x - 6, axes.y(value) + 4, told(value, panel.unit), anchor="end")}</g>'
    bottom = axes.box.y + axes.box.height
    for minute in nice_ticks(axes.duration_s / 60):
        x = axes.x(60 * minute)
        yield line(Point(x, bottom), Point(x, bottom + 3), INK)
        yield f'<g fill="{_PALE}">{text(x, bottom + 14, f"{minute:g} min", anchor="middle")}</g>'


def _path(points: Sequence[Point], colour: str, dashes: str = "") -> str:
    path = " ".join(f"{point.x:.1f},{point.y:.1f}" for point in points)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dashed}/>'


def _area(points: Sequence[Point], box: Box, colour: str) -> str:
    bottom = box.y + box.height
    corners = [Point(points[0].x, bottom), *points, Point(points[-1].x, bottom)]
    path = " ".join(f"{point.x:.1f},{point.y:.1f}" for point in corners)
    return f'<polygon points="{path}" fill="#ffffff"/><polygon points="{path}" fill="{colour}" fill-opacity="0.3"/>'


def _stacked(curves: Sequence[Curve]) -> list[Curve]:
    """Each on top of those before, where these have a value at its times."""
    below: dict[float, float] = {}
    stacked = []
    for curve in curves:
        for point in curve.points:
            below[point.x] = below.get(point.x, 0.0) + point.y
        stacked.append(Curve(curve.name, [Point(point.x, below[point.x]) for point in curve.points]))
    return stacked
