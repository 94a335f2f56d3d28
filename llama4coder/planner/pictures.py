"""A plan and an audit as pictures."""

from collections.abc import Iterator, Sequence

from llama4coder.planner.audit import Audit, Cell, Row
from llama4coder.planner.fit import Fit
from llama4coder.planner.plan import Plan, replica_of
from llama4coder.planner.replica import Replica
from llama4coder.planner.svg import ALARM, GRID, INK, PALETTE, Box, Chart, Point, Series, document, line, rect, text

_GIB = 2**30
_SHORTEST = 1024  # tokens of context
_NUMS_SEQUENCES = (1, 4, 16)
_LOADS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97)  # shares of a capacity
_WIDTH, _HEIGHT = 560.0, 380.0


def plan_picture(plan: Plan) -> str:
    """Memory over context, and, where it fits, tokens/s/GPU against tokens/s/user: SVG."""
    charts = [_memory_chart(plan.fit)]
    if plan.replica is not None:
        charts.append(_speed_chart(plan, plan.replica))
    drawn = [
        element
        for index, chart in enumerate(charts)
        for element in chart.draw(Box(index * _WIDTH, 10, _WIDTH, _HEIGHT - 10))
    ]
    return document(len(charts) * _WIDTH, _HEIGHT, drawn)


def _memory_chart(fit: Fit) -> Chart:
    contexts = list(_contexts(fit.candidate.limits.context_length))
    demands = [fit.demand.with_context(num_tokens) for num_tokens in contexts]
    series = [
        Series(
            f"{num} sequence{'s' if num > 1 else ''}",
            [
                Point(num_tokens, (demand.memory.total + num * demand.one_sequence_bytes) / _GIB)
                for num_tokens, demand in zip(contexts, demands, strict=True)
            ],
            colour,
        )
        for num, colour in zip(_NUMS_SEQUENCES, PALETTE, strict=False)
        if num <= fit.candidate.limits.max_sequences
    ]
    budget = fit.budget.limit_bytes / _GIB
    ends = [Point(contexts[0], budget), Point(contexts[-1], budget)]
    lines = [*series, Series("budget of a rank", ends, ALARM, is_dashed=True)]
    return Chart("Memory of a rank", "tokens of each sequence", "GiB", lines, log_x=True)


def _contexts(longest: int) -> Iterator[int]:
    num_tokens = min(_SHORTEST, max(1, longest // 2))
    while num_tokens < longest:
        yield num_tokens
        num_tokens *= 2
    yield longest


def _speed_chart(plan: Plan, replica: Replica) -> Chart:
    lines = [Series("this plan", _curve(plan.fit, replica), PALETTE[0])]
    if plan.plain is not None:
        plain = replica_of(plan.fit, plan.question.work, None, plan.efficiency, plan.question.calibration)
        lines.append(Series("without guesses", _curve(plan.fit, plain), PALETTE[1], is_dashed=True))
    if plan.fleet is not None:
        speed, width = plan.fleet.pace.tokens_per_s_per_user, replica.idle
        assert width is not None
        per_gpu = plan.fleet.output_tokens_per_s / plan.fleet.num_targets / plan.fleet.gpus_per_target
        lines.append(Series("planned load", [Point(speed, 0), Point(speed, per_gpu)], PALETTE[2]))
    return Chart(
        "Speed of all against speed of one",
        *("tokens/s of a user", "tokens/s of a GPU of the target", lines),
        names_right=True,
    )


def _curve(fit: Fit, replica: Replica) -> Sequence[Point]:
    paces = (replica.at(load * replica.max_rate_per_s) for load in _LOADS)
    per_request = replica.work.output_tokens / fit.candidate.num_gpus
    return [Point(pace.tokens_per_s_per_user, pace.rate_per_s * per_request) for pace in paces if pace is not None]


_CELL, _ROW, _LEFT, _TOP = 150.0, 34.0, 130.0, 92.0
_PARTS = ("weights", "all else", "KV of one sequence")


def audit_picture(audit: Audit) -> str:
    """A bar for each combination, of what a rank needs for one sequence, beside the budget's line: SVG."""
    width = _LEFT + _CELL * len(audit.nums_ranks) + 20
    height = _TOP + _ROW * len(audit.rows) + 20
    longest = max(
        (max(cell.budget, cell.weights + cell.others + cell.one_sequence) for cell in _cells(audit.rows)), default=1
    )
    per_byte = (_CELL - 22) / longest
    elements = [*_legend(audit)]
    for index, num_ranks in enumerate(audit.nums_ranks):
        told = f"{num_ranks} rank{'s' if num_ranks > 1 else ''}"
        elements.append(text(_LEFT + _CELL * index, _TOP - 10, told, weight="bold"))
    for index, row in enumerate(audit.rows):
        elements += _row(row, _TOP + _ROW * index, per_byte)
    return document(width, height, elements)


def _cells(rows: Sequence[Row]) -> Iterator[Cell]:
    return (cell for row in rows for cell in row.cells if cell is not None)


def _legend(audit: Audit) -> Iterator[str]:
    title = f"{audit.model} at {audit.context_length:,} tokens on {audit.gpu}: what each rank needs for one sequence"
    yield text(12, 24, title, size=14, weight="bold")
    for index, name in enumerate(_PARTS):
        yield rect(Box(12 + 130 * index, 40, 12, 12), PALETTE[index])
        yield text(30 + 130 * index, 50, name)
    yield line(Point(410, 38), Point(410, 54), ALARM, 2)
    yield text(418, 50, "budget of a rank; red: GiB missing, else sequences that fit")


def _row(row: Row, y: float, per_byte: float) -> Iterator[str]:
    yield line(Point(12, y - 4), Point(_LEFT + _CELL * len(row.cells), y - 4), GRID)
    yield text(12, y + 14, f"{row.quant}, {row.kv_format} KV")
    for index, cell in enumerate(row.cells):
        x = _LEFT + _CELL * index
        if cell is None:
            yield text(x, y + 14, "refused")
        else:
            yield from _bar(cell, x, y, per_byte)


def _bar(cell: Cell, x: float, y: float, per_byte: float) -> Iterator[str]:
    start = x
    for num_bytes, colour in zip((cell.weights, cell.others, cell.one_sequence), PALETTE, strict=False):
        yield rect(Box(start, y, num_bytes * per_byte, 10), colour)
        start += num_bytes * per_byte
    limit = x + cell.budget * per_byte
    yield line(Point(limit, y - 2), Point(limit, y + 12), ALARM, 2)
    fits = cell.spare >= 0
    told = f"{cell.num_sequences}" if fits else f"{cell.spare / _GIB:.1f} GiB"
    yield f'<g fill="{INK if fits else ALARM}">{text(x, y + 23, told)}</g>'
