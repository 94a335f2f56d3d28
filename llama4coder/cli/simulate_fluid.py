"""`simulate --fluid`: a fleet as flows, for the terminal."""

from collections.abc import Iterator

import msgspec
import typer
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from llama4coder.cli.console import output_console
from llama4coder.cli.simulate_options import Given, by_steps_alone, coder_workload, refuse
from llama4coder.cli.simulate_plot import svg
from llama4coder.cli.simulate_totals import cost_lines, duration, goals
from llama4coder.planner.emit import write_file
from llama4coder.simulator.fluid import FluidFleet, FluidOutcome, FluidSimulation
from llama4coder.simulator.outcome import Objectives
from llama4coder.simulator.served import ServedReplica


def simulate_fluid(given: Given, served: ServedReplica) -> None:
    """Simulate it and show what it came to.

    Raises:
        ConfigError: it is asked for something that flows cannot tell.
    """
    _check(given)
    workload = coder_workload(given)
    objectives = Objectives(given.ttft, given.itl)
    simulation = FluidSimulation(FluidFleet(served, given.replicas, workload, objectives, given.warmup))
    outcome = simulation.run()
    title = f"{given.replicas:,} x {served.name}, as flows"
    if given.as_json:
        typer.echo(msgspec.json.encode(outcome).decode())
    else:
        output_console().print(_view(outcome, title))
    if given.plot is not None:
        write_file(given.plot, svg(simulation.timeline, title))


def _check(given: Given) -> None:
    asked = {
        "--coarse": given.coarse,
        "--workload FILE": given.workload != "coder",
        "--policy": given.policy != "kv_aware",
    }
    refuse("--fluid", {**asked, **by_steps_alone(given)})


def _view(outcome: FluidOutcome, title: str) -> RenderableType:
    totals = Table(title, "", box=box.SIMPLE_HEAD)
    totals.columns[1].justify = "right"
    for name, value in _lines(outcome):
        totals.add_row(name, value)
    kinds = Table("kind", "requests/s", "good, about", "mean TTFT", box=box.SIMPLE_HEAD)
    for column in kinds.columns[1:]:
        column.justify = "right"
    for name, kind in outcome.by_kind.items():
        kinds.add_row(name, f"{kind.requests_per_s:,.1f}", f"{kind.good:.1%}", duration(kind.ttft_mean_s))
    return Group(totals, kinds, *([_day(outcome)] if len(outcome.parts) > 1 else []))


def _day(outcome: FluidOutcome) -> Table:
    table = Table(
        "from", "requests/s", "served/s", "refused, expired", "waiting", "queue time", "TTFT", "between tokens", "hits",
        box=box.SIMPLE_HEAD,
    )  # fmt: skip
    for column in table.columns:
        column.justify = "right"
    for part in outcome.parts:
        table.add_row(
            f"{part.since_s:,.0f} s",
            f"{part.requests_per_s:,.1f}",
            f"{part.served_per_s:,.1f}",
            f"{part.refused:.1%}, {part.expired:.1%}",
            f"{part.waiting_most:,.0f}",
            duration(part.queue_mean_s),
            duration(part.ttft_mean_s),
            duration(part.itl_mean_s),
            f"{part.hit_rate:.1%}",
        )
    return table


def _lines(outcome: FluidOutcome) -> Iterator[tuple[str, str]]:
    yield "developers", f"{outcome.developers:,}"
    yield "mean time to first token", duration(outcome.ttft_mean_s)
    yield "mean time between tokens", duration(outcome.itl_mean_s)
    yield f"good, about: {goals(outcome.objectives)}", f"{outcome.good:.1%}"
    yield "goodput, about", f"{outcome.goodput_per_s:,.1f} requests/s"
    yield "requests", f"{outcome.requests:,.0f}"
    yield "served", f"{outcome.served_per_s:,.1f} requests/s"
    yield "refused, expired", f"{outcome.refused:.1%}, {outcome.expired:.1%}"
    yield "queue time, mean and most", f"{duration(outcome.queue_mean_s)}, {duration(outcome.queue_most_s)}"
    yield "waiting at the end, at most", f"{outcome.waiting:,.0f}, {outcome.waiting_most:,.0f}"
    yield "waiting grows each second by", f"{outcome.waiting_growth_per_s:,.1f}"
    yield "output", f"{outcome.output_tokens_per_s:,.0f} tokens/s"
    yield "prompts", f"{outcome.prompt_tokens_per_s:,.0f} tokens/s"
    yield "prefix hit rate", f"{outcome.hit_rate:.1%}"
    yield "of what it could prefill", f"{outcome.load:.1%}"
    yield "replicas at work", f"{outcome.busy:.1%}"
    yield "sequences that generate at each", f"{outcome.rows:.1f}"
    yield from cost_lines(outcome)
