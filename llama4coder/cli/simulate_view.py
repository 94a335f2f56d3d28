"""What a simulation came to, for the terminal."""

from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from llama4coder.cli.simulate_totals import cost_lines, duration, goals
from llama4coder.simulator.outcome import Outcome, Percentiles


def view(outcome: Outcome, title: str) -> RenderableType:
    """Durations, kinds of requests, and totals."""
    parts: list[RenderableType] = [_durations(outcome, title)]
    if len(outcome.by_kind) > 1:
        parts.append(_kinds(outcome))
    return Group(*parts, _totals(outcome))


def _durations(outcome: Outcome, title: str) -> Table:
    table = Table(title, "p50", "p90", "p99", box=box.SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, percentiles in (
        ("time to first token", outcome.ttft),
        ("between tokens", outcome.itl),
        ("whole request", outcome.e2e),
    ):
        table.add_row(name, *_cells(percentiles))
    return table


def _kinds(outcome: Outcome) -> Table:
    table = Table("kind", "requests", "good", "TTFT p50", "p90", "p99", box=box.SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, kind in outcome.by_kind.items():
        table.add_row(name, f"{kind.requests:,}", f"{kind.good:.1%}", *_cells(kind.ttft))
    return table


def _totals(outcome: Outcome) -> Table:
    table = Table("all replicas", "", box=box.SIMPLE_HEAD)
    table.columns[1].justify = "right"
    for name, value in _lines(outcome):
        table.add_row(name, value)
    return table


def _lines(outcome: Outcome) -> Iterator[tuple[str, str]]:
    yield "requests", f"{outcome.requests:,}"
    for end, count in outcome.ends.items():
        yield f"  {end}", f"{count:,}"
    yield f"good: {goals(outcome.objectives)}", f"{outcome.good:.1%}"
    yield "goodput", f"{outcome.goodput_per_s:,.2f} requests/s"
    yield "simulated", f"{outcome.simulated_s:,.1f} s"
    yield "output", f"{outcome.output_tokens_per_s:,.0f} tokens/s"
    yield "prompts", f"{outcome.prompt_tokens_per_s:,.0f} tokens/s"
    yield "prefix hit rate", _percent(outcome.hit_rate)
    yield "replicas at work", _percent(outcome.busy)
    yield "preemptions", f"{outcome.preemptions:,}"
    if outcome.recomputed_tokens or outcome.host_tokens:
        yield "tokens computed again", f"{outcome.recomputed_tokens:,}"
        yield "tokens from host memory", f"{outcome.host_tokens:,}"
    if outcome.accepted_share is not None:
        yield "guesses accepted", _percent(outcome.accepted_share)
    if outcome.failures or outcome.restarts:
        yield "failures, restarts", f"{outcome.failures:,}, {outcome.restarts:,}"
        yield "requests that went on elsewhere", f"{outcome.recoveries:,}"
    yield "reports", f"{outcome.report_bytes_per_s / 1000:,.1f} kB/s of block names"
    if outcome.draft_gpu_hours:
        yield "GPU hours of the draft pool", f"{outcome.draft_gpu_hours:,.2f}"
    yield from cost_lines(outcome)


def _cells(percentiles: Percentiles) -> tuple[str, str, str]:
    return _seconds(percentiles.p50_s), _seconds(percentiles.p90_s), _seconds(percentiles.p99_s)


def _seconds(value: float | None) -> str:
    return "" if value is None else duration(value)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
