"""An audit, for the terminal."""

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from llama4coder.planner.audit import Audit, Cell

_GIB = 2**30


def view(audit: Audit) -> RenderableType:
    """A table of what fits, then what that means."""
    caption = f"{audit.model} at {audit.context_length:,} tokens on {audit.gpu} ({audit.gpu_bytes / _GIB:.1f} GiB each)"
    legend = "sequences of that length that fit, and GiB a rank has to spare; or GiB that are missing"
    lines = [Text(line) for line in (*audit.findings, *_refusals(audit))]
    return Group(Text(caption, style="bold"), Text(legend), _table(audit), *lines)


def _table(audit: Audit) -> Table:
    table = Table("weights", "KV", box=box.SIMPLE_HEAD)
    for num_ranks in audit.nums_ranks:
        table.add_column(f"{num_ranks} rank{'s' if num_ranks > 1 else ''}", justify="right")
    for index, row in enumerate(audit.rows):
        table.add_row(row.quant, row.kv_format, *map(_cell, row.cells))
        if index + 1 < len(audit.rows) and audit.rows[index + 1].quant != row.quant:
            table.add_section()
    return table


def _cell(cell: Cell | None) -> Text:
    if cell is None:
        return Text("refused", style="dim")
    if cell.spare >= 0:
        return Text(f"{cell.num_sequences} (+{cell.spare / _GIB:.1f})", style="green")
    reached = f", {cell.longest_context // 1024}k fit" if cell.longest_context >= 1024 else ""
    return Text(f"{cell.spare / _GIB:.1f}{reached}", style="red")


def _refusals(audit: Audit) -> list[str]:
    return list(dict.fromkeys(f"refused: {row.refusal}" for row in audit.rows if row.refusal is not None))
