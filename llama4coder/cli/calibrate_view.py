"""A calibration, for the terminal."""

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from llama4coder.planner.calibration import Calibration, Serving


def view(calibration: Calibration) -> RenderableType:
    """What was measured, and how far the table is from it."""
    source = calibration.source
    threads = f"{source.num_threads} threads{'' if calibration.num_ranks == 1 else ' each'}"
    title = f"{source.model} on {calibration.told_machine}, {threads}: {source.num_steps:,} steps"
    parts: list[RenderableType] = [Text(title, style="bold"), _residuals(calibration)]
    if calibration.serving is not None:
        parts += [_loads(calibration.serving), Text(_told(calibration.serving))]
    return Group(*parts)


def _residuals(calibration: Calibration) -> Table:
    table = Table("steps", box=box.SIMPLE_HEAD)
    for heading in ("number", "shortest ms", "longest ms", "median error", "largest error"):
        table.add_column(heading, justify="right")
    for each in calibration.source.residuals:
        times = (f"{1e3 * each.shortest_s:.2f}", f"{1e3 * each.longest_s:.2f}")
        table.add_row(each.kind, f"{each.num_steps:,}", *times, f"{each.median:.1%}", f"{each.largest:.1%}")
    return table


def _loads(serving: Serving) -> Table:
    table = Table("requests/s", box=box.SIMPLE_HEAD)
    for heading in ("prompt", "output", "requests", "TTFT ms", "of the table", "ITL ms", "of the table"):
        table.add_column(heading, justify="right")
    for load in serving.loads:
        seconds = (load.ttft_s, load.predicted_ttft_s, load.itl_s, load.predicted_itl_s)
        counts = (load.prompt_tokens, load.output_tokens, load.num_requests)
        table.add_row(f"{load.requests_per_s:.3g}", *map(str, counts), *(f"{1e3 * each:.1f}" for each in seconds))
    return table


def _told(serving: Serving) -> str:
    return (
        f"beside the engine: steps {serving.scale:.3f} times as long, {1e3 * serving.row_s:.2f} ms more for each "
        f"sequence, and {1e3 * serving.front_s:.1f} ms for each request"
    )
