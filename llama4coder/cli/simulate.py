"""`llama4coder simulate`: how a fleet that nobody has rented would serve."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import typer

from llama4coder.cli import simulate_options as options
from llama4coder.cli.console import output_console
from llama4coder.cli.progress import RichProgress
from llama4coder.cli.simulate_fluid import simulate_fluid
from llama4coder.cli.simulate_guesses import guesses_of
from llama4coder.cli.simulate_options import Given, checked, coder_workload
from llama4coder.cli.simulate_plot import svg
from llama4coder.cli.simulate_scaling import scaling_of, starting_of
from llama4coder.cli.simulate_view import view
from llama4coder.errors import ConfigError, Llama4CoderError
from llama4coder.planner.calibration import read_calibration
from llama4coder.planner.emit import write_file
from llama4coder.planner.gpus import find_gpu
from llama4coder.planner.shapes import find_model
from llama4coder.simulator.arrivals import Arrival
from llama4coder.simulator.coarse import CoarseSimulation
from llama4coder.simulator.fleet import FleetPlan
from llama4coder.simulator.mishaps import Failures, RollingRestart
from llama4coder.simulator.outcome import Objectives, Outcome, outcome_of
from llama4coder.simulator.served import ReplicaChoices, ServedReplica, serve
from llama4coder.simulator.simulation import Scenario, Simulation
from llama4coder.simulator.traces import read_trace

_REFUSED_EXIT_CODE = 2
_MOST_REQUESTS = 50_000_000


def register(app: typer.Typer) -> None:
    """Add the `simulate` command."""
    app.command()(simulate)


def simulate(  # noqa: PLR0913 - a command's options
    ctx: typer.Context,
    model: options.Model,
    gpu: options.Gpu = "H200",
    replicas: options.Replicas = 1,
    ranks: options.Ranks = 1,
    kv_shards: options.KvShards = None,
    quant: options.Quant = "none",
    kv: options.Kv = "dense",
    context: options.Context = None,
    max_sequences: options.MaxSequences = 64,
    max_step_tokens: options.MaxStepTokens = 512,
    max_queued: options.MaxQueued = 256,
    queue_timeout: options.QueueTimeout = 120.0,
    host_gib: options.HostGib = 0.0,
    cache: options.Caching = True,
    calibration: options.Calibrated = None,
    workload: options.Workload = "coder",
    rate: options.Rate = 1.0,
    duration: options.Duration = 60.0,
    day: options.Day = "1",
    repositories: options.Repositories = 50,
    warmup: options.Warmup = 0.0,
    seed: options.Seed = 0,
    policy: options.Policy = "kv_aware",
    ingresses: options.Ingresses = 1,
    guess: options.Guess = "none",
    accept: options.Accept = "0.8",
    hit: options.Hit = 1.0,
    draft: options.Draft = "llama-3.2-1b",
    draft_replicas: options.DraftReplicas = 1,
    max_draft_replicas: options.MaxDraftReplicas = None,
    max_draft: options.MaxDraft = 8,
    mtbf: options.Mtbf = None,
    detection: options.Detection = 5.0,
    storage: options.Storage = 2.0,
    start: options.Start = 30.0,
    restart_at: options.RestartAt = None,
    at_once: options.AtOnce = 1,
    max_replicas: options.MaxReplicas = None,
    scaling_policy: options.ScalingPolicy = "product",
    target_requests: options.TargetRequests = 32.0,
    up_delay: options.UpDelay = 10.0,
    down_delay: options.DownDelay = 300.0,
    forecast: options.Forecast = None,
    provision: options.Provision = 300.0,
    ttft: options.Ttft = 2.0,
    itl: options.Itl = 0.05,
    coarse: options.Coarse = False,
    fluid: options.Fluid = False,
    as_json: options.Json = False,
    plot: options.Plot = None,
) -> None:
    """Simulate a fleet under load: the product's own scheduler, router and policies on a clock that jumps."""
    try:
        _simulate(checked(ctx.params))
    except (Llama4CoderError, OSError) as error:
        typer.echo(f"llama4coder: {error}", err=True)
        raise typer.Exit(_REFUSED_EXIT_CODE) from None


def _simulate(given: Given) -> None:
    if given.workload == "coder" and given.warmup >= given.duration:
        raise ConfigError(f"--warmup {given.warmup:g} leaves nothing of --duration {given.duration:g}")
    gpu = find_gpu(given.gpu)
    calibration = None if given.calibration is None else read_calibration(given.calibration)
    served = serve(find_model(given.model), gpu, _choices(given), calibration)
    if given.fluid:
        simulate_fluid(given, served)
        return
    scenario = Scenario(
        served=served,
        fleet=_fleet(given, served),
        policy=given.policy,
        num_ingresses=given.ingresses,
        guesses=guesses_of(given, gpu),
        seed=given.seed,
        warmup_s=given.warmup,
        duration_s=given.duration,
    )
    demand = _demand(given)
    simulation = _simulation(given, scenario, demand.arrivals)
    progress = RichProgress()
    progress.start(f"{given.replicas} x {served.name}", demand.num_expected, "requests")
    try:
        is_whole = simulation.run(progress)
    finally:
        progress.finish()
    if is_whole and not simulation.measures.requests:
        raise ConfigError("no request arrives in that time: raise --rate or --duration")
    outcome = outcome_of(
        simulation.measures,
        Objectives(given.ttft, given.itl),
        simulation.now_s,
        gpu.price_per_hour,
        is_whole=is_whole,
    )
    _show(given, served, outcome)
    if given.plot is not None:
        write_file(given.plot, svg(simulation.timeline, _title(given, served)))


def _show(given: Given, served: ServedReplica, outcome: Outcome) -> None:
    if not outcome.is_whole:
        typer.echo(f"llama4coder: interrupted after {outcome.simulated_s:.1f} simulated seconds", err=True)
    if given.as_json:
        typer.echo(msgspec.json.encode(outcome).decode())
    else:
        output_console().print(view(outcome, _title(given, served)))


def _title(given: Given, served: ServedReplica) -> str:
    return f"{given.replicas} x {served.name}, {given.policy}"


def _choices(given: Given) -> ReplicaChoices:
    return ReplicaChoices(
        ranks=given.ranks,
        kv_shards=given.kv_shards,
        quant=given.quant,
        kv_format=given.kv,
        context_length=given.context,
        max_sequences=given.max_sequences,
        max_step_tokens=given.max_step_tokens,
        max_queued_requests=given.max_queued,
        queue_timeout_s=given.queue_timeout,
        prefix_caching=given.cache,
        host_memory_bytes=int(given.host_gib * 2**30),
        method=given.guess,
        max_draft_tokens=given.max_draft,
    )


@dataclass(frozen=True, slots=True)
class _Demand:
    """Requests, and about how many they are."""

    arrivals: Iterable[Arrival]
    num_expected: int


def _demand(given: Given) -> _Demand:
    """Of a trace all lines are read before anything is simulated, so that a bad one is told at once."""
    if given.workload == "coder":
        workload = coder_workload(given)
        if workload.num_expected > _MOST_REQUESTS:
            raise ConfigError(
                f"{workload.num_expected:,.0f} requests would take days: lower --rate or --duration, or take --fluid"
            )
        return _Demand(workload.arrivals(), round(workload.num_expected))
    if given.day != "1":
        raise ConfigError("--day is for the coder workload: a trace has a day of its own; leave one of them out")
    arrivals = list(read_trace(Path(given.workload)))
    return _Demand(arrivals, len(arrivals))


def _simulation(given: Given, scenario: Scenario, arrivals: Iterable[Arrival]) -> Simulation | CoarseSimulation:
    if not given.coarse:
        return Simulation(scenario, arrivals)
    options.refuse("--coarse", options.by_steps_alone(given))
    return CoarseSimulation(scenario, arrivals)


def _fleet(given: Given, served: ServedReplica) -> FleetPlan:
    return FleetPlan(
        scaling=scaling_of(given, served),
        starting=starting_of(given),
        failures=None if given.mtbf is None else Failures(given.mtbf * 3600, given.detection),
        restart=None if given.restart_at is None else RollingRestart(given.restart_at, given.at_once),
    )
