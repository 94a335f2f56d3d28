"""Charts as SVG, by hand: two kinds of them are not worth a plotting library."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

PALETTE = ("#1f5fa8", "#d1652a", "#2f8f5b", "#8a4fa0", "#b8942c")
GRID, INK, ALARM = "#e4e4e4", "#333333", "#c0392b"
_MARGIN_LEFT, _MARGIN_BOTTOM, _MARGIN_TOP = 62, 46, 34
_NUM_TICKS = 5
_NAMES_WIDTH = 130


@dataclass(frozen=True, slots=True)
class Point:
    """In the units of the axes."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Series:
    """A line and its name."""

    name: str
    points: Sequence[Point]
    colour: str
    is_dashed: bool = False


@dataclass(frozen=True, slots=True)
class Box:
    """A place in the picture, in pixels."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over axes that begin at zero; `log_x` in powers of two."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    log_x: bool = False
    names_right: bool = False

    def draw(self, box: Box) -> Sequence[str]:
        """Its elements."""
        inner = Box(
            box.x + _MARGIN_LEFT,
            box.y + _MARGIN_TOP,
            box.width - _MARGIN_LEFT - 20,
            box.height - _MARGIN_TOP - _MARGIN_BOTTOM,
        )
        top = 1.05 * max(point.y for each in self.series for point in each.points)
        scale = _Scale(inner, self._x_range(), top, self.log_x)
        return [
            text(box.x + _MARGIN_LEFT, box.y + 18, self.title, size=14, weight="bold"),
            *_axes(self, scale, inner),
            *(element for each in self.series for element in _line(each, scale)),
            *(
                element
                for index, each in enumerate(self.series)
                for element in _name(each, self._name_at(inner, index))
            ),
        ]

    def _name_at(self, box: Box, index: int) -> Point:
        left = box.x + (box.width - _NAMES_WIDTH if self.names_right else 8)
        return Point(left, box.y + 10 + 15 * index)

    def _x_range(self) -> "_Range":
        xs = [point.x for each in self.series for point in each.points]
        return _Range(min(xs) if self.log_x else 0.0, max(xs) if self.log_x else 1.05 * max(xs))


def document(width: float, height: float, elements: Sequence[str]) -> str:
    """A whole file."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'font-family="sans-serif" font-size="11" fill="{INK}">'
    )
    return "\n".join([head, rect(Box(0, 0, width, height), "#ffffff"), *elements, "</svg>", ""])


def text(x: float, y: float, content: str, size: int = 11, anchor: str = "start", weight: str = "normal") -> str:
    style = f'font-size="{size}" text-anchor="{anchor}" font-weight="{weight}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(content)}</text>'


def rect(box: Box, colour: str) -> str:
    size = f'width="{max(0.0, box.width):.1f}" height="{max(0.0, box.height):.1f}"'
    return f'<rect x="{box.x:.1f}" y="{box.y:.1f}" {size} fill="{colour}"/>'


def line(start: Point, end: Point, colour: str, width: float = 1) -> str:
    """Between two places in pixels."""
    ends = f'x1="{start.x:.1f}" y1="{start.y:.1f}" x2="{end.x:.1f}" y2="{end.y:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width:g}"/>'


@dataclass(frozen=True, slots=True)
class _Range:
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class _Scale:
    box: Box
    xs: _Range
    top: float
    log_x: bool

    def x(self, value: float) -> float:
        low, high = self.xs.low, self.xs.high
        share = math.log(value / low) / math.log(high / low) if self.log_x else (value - low) / (high - low)
        return self.box.x + share * self.box.width

    def y(self, value: float) -> float:
        return self.box.y + (1 - value / self.top) * self.box.height

    def x_ticks(self) -> Sequence[float]:
        if not self.log_x:
            return nice_ticks(self.xs.high)
        powers = range(math.ceil(math.log2(self.xs.low)), math.floor(math.log2(self.xs.high)) + 1)
        return [2.0**power for power in powers]


def nice_ticks(high: float) -> Sequence[float]:
    """From zero, in steps of 1, 2 or 5 times a power of ten."""
    raw = high / _NUM_TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    return [step * index for index in range(math.floor(high / step) + 1)]


def _axes(chart: Chart, scale: _Scale, box: Box) -> Sequence[str]:
    bottom, right = box.y + box.height, box.x + box.width
    elements = []
    for tick in nice_ticks(scale.top):
        elements.append(line(Point(box.x, scale.y(tick)), Point(right, scale.y(tick)), GRID))
        elements.append(text(box.x - 6, scale.y(tick) + 4, f"{tick:,g}", anchor="end"))
    for tick in scale.x_ticks():
        told = f"{tick / 1024:g}k" if chart.log_x and tick >= 1024 else f"{tick:,g}"
        elements.append(line(Point(scale.x(tick), bottom), Point(scale.x(tick), bottom + 4), INK))
        elements.append(text(scale.x(tick), bottom + 16, told, anchor="middle"))
    elements.append(line(Point(box.x, bottom), Point(right, bottom), INK))
    elements.append(text(box.x + box.width / 2, bottom + 34, chart.x_label, anchor="middle"))
    elements.append(text(right, box.y - 4, chart.y_label, anchor="end"))
    return elements


def _line(series: Series, scale: _Scale) -> Sequence[str]:
    path = " ".join(f"{scale.x(point.x):.1f},{scale.y(point.y):.1f}" for point in series.points)
    dashes = ' stroke-dasharray="6 4"' if series.is_dashed else ""
    return [f'<polyline points="{path}" fill="none" stroke="{series.colour}" stroke-width="2"{dashes}/>']


def _name(series: Series, at: Point) -> Sequence[str]:
    swatch = line(at, Point(at.x + 20, at.y), series.colour, 3)
    return [swatch, text(at.x + 26, at.y + 4, series.name)]
