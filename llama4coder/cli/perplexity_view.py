"""A comparison of formats, for the terminal."""

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from llama4coder.perplexity.formats import BASELINE
from llama4coder.perplexity.interval import BLOCK_TOKENS, FEWEST_BLOCKS, Estimate
from llama4coder.perplexity.report import Measured, Report

_NOTHING = ""


def view(report: Report) -> RenderableType:
    """A line per format that could be measured, and after the table why others could not."""
    title = f"{report.model}: {report.num_tokens:,} tokens in windows of {report.context_length:,}"
    refused = (Text(f"{row.format}: {row.refusal}") for row in report.rows if row.refusal is not None)
    return Group(Text(title, style="bold"), _table(report), *_notes(report), *refused)


def _table(report: Report) -> Table:
    table = Table("weights", "KV", "rest", box=box.SIMPLE_HEAD)
    for heading in ("perplexity", "95 %", f"against {BASELINE}", "95 %", "weights", "KV per token", "tokens/s"):
        table.add_column(heading, justify="right")
    for row in report.rows:
        if row.measured is not None:
            table.add_row(row.format.quant, row.format.kv_format, *_cells(row.measured))
    return table


def _cells(measured: Measured) -> tuple[str, ...]:
    return (
        measured.dtype,
        f"{measured.perplexity.value:.4g}",
        _interval(measured.perplexity, ".4g"),
        _NOTHING if measured.difference_percent is None else f"{measured.difference_percent.value:+.2f} %",
        _NOTHING if measured.difference_percent is None else _interval(measured.difference_percent, "+.2f"),
        f"{measured.weight_bytes / 2**20:,.1f} MiB",
        f"{measured.kv_bytes_per_token:,.0f} B",
        f"{measured.tokens_per_s:,.1f}",
    )


def _interval(estimate: Estimate, spec: str) -> str:
    interval = estimate.interval
    return _NOTHING if interval is None else f"{interval.low:{spec}} to {interval.high:{spec}}"


def _notes(report: Report) -> list[Text]:
    has_intervals = any(row.measured is not None and row.measured.perplexity.interval for row in report.rows)
    if has_intervals:
        return []
    return [Text(f"too little text for intervals, which take {FEWEST_BLOCKS} blocks of {BLOCK_TOKENS} tokens")]
