"""What `simulate` can be asked for, as the command line has it, and as it is once it makes sense."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer

from llama4coder.cli.checked import checked_as
from llama4coder.config import KVFormat, QuantFormat, RoutingPolicy, SpeculationMethod
from llama4coder.errors import ConfigError
from llama4coder.planner.gpus import GPUS
from llama4coder.simulator.coder import CoderWorkload
from llama4coder.simulator.daytime import Daytime

Model = Annotated[str, typer.Argument(help="A name such as llama-3.1-70b, or a checkpoint folder.")]
Gpu = Annotated[str, typer.Option(help=f"{', '.join(GPUS)}, or a .yaml file that describes one.")]
Replicas = Annotated[int, typer.Option(help="Target replicas.")]
Ranks = Annotated[int, typer.Option(help="GPUs of one replica.")]
KvShards = Annotated[int | None, typer.Option(help="Ranks that hold the same heads, as `engine.kv_shards`.")]
Quant = Annotated[str, typer.Option(help="Weights: none, fp8 or nf4.")]
Kv = Annotated[str, typer.Option(help="KV blocks: dense, fp8, int8 or int4.")]
Context = Annotated[int | None, typer.Option(help="Tokens of one sequence; the model's own by default.")]
MaxSequences = Annotated[int, typer.Option(help="engine.max_sequences.")]
MaxStepTokens = Annotated[int, typer.Option(help="engine.max_step_tokens.")]
MaxQueued = Annotated[int, typer.Option(help="engine.max_queued_requests.")]
QueueTimeout = Annotated[float, typer.Option(help="engine.queue_timeout_s.")]
HostGib = Annotated[float, typer.Option(help="Host memory of each rank for KV blocks, in GiB.")]
Caching = Annotated[bool, typer.Option("--cache/--no-cache", help="engine.prefix_caching.")]

Calibrated = Annotated[Path | None, typer.Option(help="Of `llama4coder calibrate`, in place of the GPU's data sheet.")]

Workload = Annotated[str, typer.Option(help="`coder`, or a trace: a JSON object per line (docs/simulation.md).")]
Rate = Annotated[float, typer.Option(help="Requests per second of the coder workload.")]
Duration = Annotated[float, typer.Option(help="Seconds of it.")]
Day = Annotated[
    str, typer.Option(help="Shares of --rate, from the first second to the last, as in 0.1,0.6,1,0.9,0.3: a day.")
]
Repositories = Annotated[int, typer.Option(help="That its developers share.")]
Warmup = Annotated[float, typer.Option(help="Seconds that are served and not counted.")]
Seed = Annotated[int, typer.Option(help="Equal seeds have equal outcomes.")]

Policy = Annotated[str, typer.Option(help="router.policy: kv_aware, least_load or round_robin.")]
Ingresses = Annotated[int, typer.Option(help="Each with a router of its own.")]

Guess = Annotated[str, typer.Option(help="speculation.method: none, ngram, local or pool.")]
Accept = Annotated[str, typer.Option(help="Chance of each guess if those before it are right, as in 0.8,0.7.")]
Hit = Annotated[float, typer.Option(help="Chance that there are guesses for an outcome at all.")]
Draft = Annotated[str, typer.Option(help="The draft model of `local` and `pool`.")]
DraftReplicas = Annotated[int, typer.Option(help="Of the pool, each on one GPU of the same kind.")]
MaxDraftReplicas = Annotated[int | None, typer.Option(help="Let their number follow what they do, up to this.")]
MaxDraft = Annotated[int, typer.Option(help="speculation.max_draft_tokens.")]

Mtbf = Annotated[float | None, typer.Option(help="Hours between failures of one GPU; none by default.")]
Detection = Annotated[float, typer.Option(help="Seconds until a failure is known.")]
Storage = Annotated[float, typer.Option(help="GB/s at which each rank reads its weights.")]
Start = Annotated[float, typer.Option(help="Seconds of a start beside that.")]
RestartAt = Annotated[float | None, typer.Option(help="When a rolling restart begins, in seconds.")]
AtOnce = Annotated[int, typer.Option(help="Replicas that it restarts at once.")]
MaxReplicas = Annotated[int | None, typer.Option(help="Let their number grow to this with the load.")]
ScalingPolicy = Annotated[
    str, typer.Option(help="`product`, as `scaling` in a configuration has it; or `requests`: so many of each replica.")
]
TargetRequests = Annotated[float, typer.Option(help="Of one replica, with --scaling-policy requests.")]
UpDelay = Annotated[float, typer.Option(help="scaling.up_delay_s.")]
DownDelay = Annotated[float, typer.Option(help="scaling.down_delay_s.")]
Forecast = Annotated[Path | None, typer.Option(help="scaling.forecast_file; a simulation begins Monday at 0:00.")]
Provision = Annotated[float, typer.Option(help="Seconds until a node is there for one more.")]

Ttft = Annotated[float, typer.Option(help="Objective: seconds to the first token.")]
Itl = Annotated[float, typer.Option(help="Objective: seconds between tokens, on a request's average.")]
Coarse = Annotated[bool, typer.Option("--coarse", help="By counts, many steps at once: for thousands of replicas.")]
Fluid = Annotated[bool, typer.Option("--fluid", help="By rates alone, means only: for any number of replicas.")]
Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
Plot = Annotated[Path | None, typer.Option(help="An SVG file to write: replicas, requests and tokens over time.")]

_Positive = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
_Span = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Tokens = Annotated[int, msgspec.Meta(ge=16, le=100_000_000)]
_Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class Given(msgspec.Struct, frozen=True):
    """Options that make sense, one by one; names are those of the command's parameters."""

    model: str
    gpu: str
    replicas: _Count
    ranks: Annotated[int, msgspec.Meta(ge=1, le=1024)]
    kv_shards: _Count | None
    quant: QuantFormat
    kv: KVFormat
    context: _Tokens | None
    max_sequences: _Count
    max_step_tokens: _Tokens
    max_queued: _Count
    queue_timeout: _Positive
    host_gib: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]
    cache: bool
    calibration: Path | None
    workload: str
    rate: _Positive
    duration: _Positive
    day: str
    repositories: _Count
    warmup: _Span
    seed: int
    policy: RoutingPolicy
    ingresses: _Count
    guess: SpeculationMethod
    accept: str
    hit: _Share
    draft: str
    draft_replicas: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
    max_draft_replicas: _Count | None
    max_draft: Annotated[int, msgspec.Meta(ge=1, le=32)]
    mtbf: _Positive | None
    detection: _Span
    storage: _Positive
    start: _Span
    restart_at: _Span | None
    at_once: _Count
    max_replicas: _Count | None
    scaling_policy: Literal["product", "requests"]
    target_requests: _Positive
    up_delay: _Span
    down_delay: _Span
    forecast: Path | None
    provision: _Span
    ttft: _Positive
    itl: _Positive
    coarse: bool
    fluid: bool
    as_json: bool
    plot: Path | None


def checked(params: Mapping[str, Any]) -> Given:
    """The options of a call.

    Raises:
        ConfigError: one of them makes no sense; names it.
    """
    return checked_as(params, Given, "simulate")


def chances(text: str) -> tuple[float, ...]:
    """Of `--accept`.

    Raises:
        ConfigError: they are no chances.
    """
    return _shares("--accept", text)


def coder_workload(given: Given) -> CoderWorkload:
    """What `--workload coder` and its companions ask for.

    Raises:
        ConfigError: `--day` is no list of shares.
    """
    daytime = Daytime(_shares("--day", given.day))
    return CoderWorkload(given.rate, given.duration, given.seed, given.repositories, daytime=daytime)


def _shares(option: str, text: str) -> tuple[float, ...]:
    try:
        return msgspec.convert(text.split(","), tuple[_Share, ...], strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{option} {text!r} must be numbers from 0 to 1 with commas between them") from error


def by_steps_alone(given: Given) -> Mapping[str, bool]:
    """What only a simulation step by step knows, and whether it is asked for."""
    return {
        "--guess": given.guess != "none",
        "--mtbf": given.mtbf is not None,
        "--restart-at": given.restart_at is not None,
        "--max-replicas": given.max_replicas is not None,
        "--max-draft-replicas": given.max_draft_replicas is not None,
        "--host-gib": given.host_gib > 0,
        "--ingresses": given.ingresses > 1,
    }


def refuse(mode: str, asked: Mapping[str, bool]) -> None:
    """Raise `ConfigError` that names what is asked for and cannot be had with the option `mode`."""
    options = [option for option, is_asked in asked.items() if is_asked]
    if options:
        raise ConfigError(f"{mode} cannot simulate {', '.join(options)}: leave it out, or leave out {mode}")
