"""A report about KV blocks, for the terminal."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from llama4coder.cli.kv_report import Figure, KVReport, Place, columns

_NOTHING = ""


def view(report: KVReport, *, watched: bool) -> RenderableType:
    """Blocks of every pool, then what is counted; rates where the report was watched."""
    blocks: RenderableType = _blocks(report.places) if report.places else Text("no replica has told of its blocks yet")
    return Group(blocks, _figures(report, watched))


def _blocks(places: Sequence[Place]) -> Table:
    states, beside = columns(places)
    table = Table("KV blocks", box=box.SIMPLE_HEAD)
    for heading in (*states, "total", "in use", *beside):
        table.add_column(heading, justify="right")
    for place in places:
        counts = [_count(place.pool.get(state)) for state in states]
        further = [_count(place.beside.get(name)) for name in beside]
        table.add_row(_name(place), *counts, _count(place.num_blocks), _in_use(place), *further)
    return table


def _name(place: Place) -> str:
    """`8sx1k2, rank 0` for labels replica and rank."""
    labels = dict(place.labels)
    replica = labels.pop("replica", None)
    parts = ([replica] if replica else []) + [f"{label} {value}" for label, value in labels.items()]
    return ", ".join(parts) or "the replica"


def _in_use(place: Place) -> str:
    return f"{place.pool.get('used', 0) / place.num_blocks:.0%}" if place.num_blocks else _NOTHING


def _figures(report: KVReport, watched: bool) -> Table:
    table = Table("all replicas", box=box.SIMPLE_HEAD)
    table.add_column("", justify="right")
    if watched:
        table.add_column("per s", justify="right")
    for cells in _lines(report):
        table.add_row(*cells[: len(table.columns)])
    return table


def _lines(report: KVReport) -> Iterator[tuple[str, str, str]]:
    yield "prefix hit rate", _percent(report.hit_rate), _percent(report.recent_hit_rate)
    for figure in report.figures:
        yield _meaning(figure), _count(figure.value), _NOTHING if figure.per_s is None else f"{figure.per_s:,.1f}"


def _meaning(figure: Figure) -> str:
    values = ", ".join(value.replace("_", " ") for value in figure.labels.values())
    return f"{figure.meaning}: {values}" if values else figure.meaning


def _percent(share: float | None) -> str:
    return _NOTHING if share is None else f"{share:.1%}"


def _count(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:,.10g}"
