"""A report as a screen of a terminal: as much of it as there is room for, the most wanted first."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from llama4coder.cli.kv_report import Place
from llama4coder.cli.top_sections import Item, Report, Row, Section, Unit

_TITLE_WIDTH, _NAME_WIDTH = 11, 15
_GAP = "  "
_MAX_PLACES = 8
_MIN_BAR_WIDTH, _MAX_BAR_WIDTH = 10, 60
_BEFORE_BLOCKS = frozenset({"requests", "latency", "tokens", "queue", "refused", "no room"})


@dataclass(frozen=True, slots=True)
class Fill:
    """One part of a bar."""

    name: str
    glyph: str
    plain_glyph: str  # where a terminal knows ASCII alone
    style: str


USED = Fill("used", "█", "#", "red")
PROMISED = Fill("promised", "▓", "+", "yellow")
CACHED = Fill("cached", "▒", "=", "cyan")
FREE = Fill("free", "░", ".", "green")


@dataclass(frozen=True, slots=True)
class Screen:
    """A rich renderable; `trouble` says why the figures are old, if they are."""

    heading: str
    report: Report | None
    trouble: str | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.heading, style="bold", no_wrap=True, overflow="ellipsis")
        num_left = options.max_height - 1 if options.height is not None or console.is_alt_screen else None
        if self.trouble is not None:
            trouble = Text(self.trouble, style="bold red")
            yield trouble
            num_left = None if num_left is None else num_left - len(console.render_lines(trouble, options))
        elif self.report is None:
            yield Text("looking a second time, to compare ...", style="dim")
        if self.report is not None:
            yield from _fitting(self.report, num_left, console, options)


def _fitting(report: Report, num_lines: int | None, console: Console, options: ConsoleOptions) -> RenderResult:
    """Whole sections, until there is no room; the last line then tells what is missing."""
    flowing = options.update(height=None)
    missing: list[str] = []
    for title, part in _parts(report, options.max_width, console):
        num_needed = len(console.render_lines(part, flowing)) if num_lines is not None else 0
        if num_lines is not None and (missing or num_needed > num_lines - 1):
            missing.append(title)
            continue
        num_lines = None if num_lines is None else num_lines - num_needed
        yield part
    if missing:
        yield Text(f"no room for {', '.join(missing)}", style="dim", no_wrap=True, overflow="ellipsis")


def _parts(report: Report, width: int, console: Console) -> list[tuple[str, Table]]:
    first = [section for section in report.sections if section.title in _BEFORE_BLOCKS]
    rest = [section for section in report.sections if section.title not in _BEFORE_BLOCKS]
    room = width - _TITLE_WIDTH
    parts = [_part(section, room) for section in first]
    if report.places:
        is_plain = not console.encoding.startswith("utf")
        parts.append(("KV blocks", _beside("KV blocks", _blocks(report.places, room, is_plain))))
    return parts + [_part(section, room) for section in rest]


def _part(section: Section, width: int) -> tuple[str, Table]:
    return section.title, _beside(section.title, [line for row in section.rows for line in _lines(row, width)])


def _beside(title: str, lines: Sequence[Text]) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=_TITLE_WIDTH - 1, style="bold cyan", no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_row(title, Group(*lines))
    return grid


def _lines(row: Row, width: int) -> list[Text]:
    """`first token    p50 0.052 s  p95 0.180 s`; no item is broken in two."""
    indent = _NAME_WIDTH if row.name else 0
    lines = [Text(f"{row.name:<{indent}}", style="dim")]
    for item in row.items:
        text = Text.assemble((item.name.replace("_", " "), "not dim"), " ", (told(item), "not dim bold"))
        is_empty = lines[-1].cell_len == indent
        if not is_empty and lines[-1].cell_len + len(_GAP) + text.cell_len > width:
            lines.append(Text(" " * indent, style="dim"))
            is_empty = True
        lines[-1].append("" if is_empty else _GAP).append_text(text)
    return lines


def told(item: Item) -> str:
    """A number with its unit, in few characters."""
    match item.unit:
        case Unit.COUNT:
            return f"{item.value:,.0f}"
        case Unit.PER_S:
            return f"{item.value:,.0f}/s" if item.value >= 100 else f"{item.value:.1f}/s"
        case Unit.SHARE:
            return f"{item.value:.0%}"
        case Unit.TIMES:
            return f"{item.value:.2f}x"
        case Unit.SECONDS:
            return _seconds(item.value)


def _seconds(value: float) -> str:
    if value < 0.001:
        return f"{value * 1e6:.0f} µs"
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"


def _blocks(places: Sequence[Place], width: int, is_plain: bool) -> list[Text]:
    """One line per pool; of many the fullest."""
    shown = places if len(places) <= _MAX_PLACES else sorted(places, key=_fullness, reverse=True)[:_MAX_PLACES]
    lines = [_pool_line(place, width, is_plain) for place in shown]
    if len(places) > _MAX_PLACES:
        lines.append(Text(f"and {len(places) - _MAX_PLACES} more that are less full", style="dim"))
    return lines


def _fullness(place: Place) -> float:
    return (place.pool.get(USED.name, 0) + place.beside.get(PROMISED.name, 0)) / max(1, place.num_blocks)


def _pool_line(place: Place, width: int, is_plain: bool) -> Text:
    counts = f" {place.pool.get(USED.name, 0)} used, {place.beside.get(PROMISED.name, 0)} promised"
    counts += f", {place.pool.get(CACHED.name, 0)} cached, {place.pool.get(FREE.name, 0)} free"
    name = " ".join(f"{value[:8]:<8}" for value in place.labels.values())
    bar_width = min(_MAX_BAR_WIDTH, max(_MIN_BAR_WIDTH, width - len(name) - len(counts) - 2))
    line = Text(f"{name} ", no_wrap=True, overflow="ellipsis")
    for fill, length in bar(place, bar_width):
        line.append((fill.plain_glyph if is_plain else fill.glyph) * length, style=fill.style)
    return line.append(counts)


def bar(place: Place, width: int) -> list[tuple[Fill, int]]:
    """The parts of a pool in characters, `width` in all; promised blocks are taken from the free ones first."""
    promised = min(place.beside.get(PROMISED.name, 0), place.num_blocks - place.pool.get(USED.name, 0))
    free = place.pool.get(FREE.name, 0)
    cached = place.pool.get(CACHED.name, 0) - max(0, promised - free)
    counts = [(USED, place.pool.get(USED.name, 0)), (PROMISED, promised), (CACHED, cached)]
    lengths, done, end = [], 0, 0
    for fill, count in counts:
        end += count
        until = round(width * end / max(1, place.num_blocks))
        lengths.append((fill, until - done))
        done = until
    return [*lengths, (FREE, width - done)]
