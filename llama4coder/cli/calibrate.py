"""`llama4coder calibrate`: step times of an engine on this machine, for `plan` and `simulate`."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from llama4coder.calibration.endpoint import Endpoint
from llama4coder.calibration.serving import Sizes, loads_for, measure_endpoint
from llama4coder.calibration.task import Task
from llama4coder.cli.calibrate_view import view
from llama4coder.cli.checked import checked_as
from llama4coder.cli.client import EndpointClient
from llama4coder.cli.console import output_console
from llama4coder.cli.progress import RichProgress
from llama4coder.config import (
    Auto,
    DeploymentConfig,
    EngineConfig,
    KVFormat,
    ModelConfig,
    QuantFormat,
    SpeculationConfig,
)
from llama4coder.env import api_key
from llama4coder.errors import ConfigError, Llama4CoderError
from llama4coder.planner.calibration import Calibration, read_calibration
from llama4coder.progress import Progress

_ENGINE = EngineConfig()
INTERRUPTED_EXIT_CODE = 130
_Positive = Annotated[float, msgspec.Meta(gt=0)]
_Count = Annotated[int, msgspec.Meta(ge=1)]


def register(app: typer.Typer) -> None:
    """Add the `calibrate` command."""
    app.command()(calibrate)


def calibrate(  # noqa: PLR0913 - a command's options
    ctx: typer.Context,
    path: Annotated[str, typer.Argument(help="A model folder, a .gguf file, or `embedded`.")],
    out: Annotated[Path, typer.Option(help="The .yaml file to write.")],
    quant: Annotated[str, typer.Option(help="Weights, as `model.quant`.")] = "auto",
    kv_format: Annotated[str, typer.Option(help="KV blocks, as `engine.kv_format`.")] = "dense",
    context: Annotated[int | None, typer.Option(help="Tokens; the model's own by default.")] = None,
    max_sequences: Annotated[int, typer.Option(help="As `engine.max_sequences`.")] = _ENGINE.max_sequences,
    max_step_tokens: Annotated[int, typer.Option(help="As `engine.max_step_tokens`.")] = _ENGINE.max_step_tokens,
    threads: Annotated[int | None, typer.Option(help="As `engine.num_threads`.")] = None,
    url: Annotated[str | None, typer.Option(help="Of a running endpoint: what it adds to --table.")] = None,
    table: Annotated[Path | None, typer.Option(help="A table that this command has written.")] = None,
    rate: Annotated[list[float] | None, typer.Option(help="With --url: requests/s; again for each load.")] = None,
    seconds: Annotated[float, typer.Option(help="With --url: of each load.")] = 90.0,
    runs: Annotated[int, typer.Option(help="With --url: that each load is measured in, in turns.")] = 3,
    prompt_tokens: Annotated[
        int, typer.Option(help="With --url: of a request, on average; in every second load a quarter.")
    ] = 256,
    output_tokens: Annotated[
        int, typer.Option(help="With --url: of a request, on average; in every second load twice as many.")
    ] = 48,
) -> None:
    """Time an engine's steps, or a running endpoint under two loads, and write a table for `plan` and `simulate`."""
    try:
        given = checked_as(ctx.params, Given, "calibrate")
        found = _calibrate(given, RichProgress())
        found.write(given.out)
    except Llama4CoderError as error:
        typer.echo(f"llama4coder: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED_EXIT_CODE) from None
    output_console().print(view(found))


class Given(msgspec.Struct, frozen=True):
    """Options that make sense, one by one."""

    path: str
    out: Path
    quant: QuantFormat | Auto
    kv_format: KVFormat
    context: Annotated[int, msgspec.Meta(ge=16)] | None
    max_sequences: _Count
    max_step_tokens: Annotated[int, msgspec.Meta(ge=16)]
    threads: _Count | None
    url: str | None
    table: Path | None
    rate: list[_Positive] | None
    seconds: _Positive
    runs: _Count
    prompt_tokens: Annotated[int, msgspec.Meta(ge=2)]
    output_tokens: Annotated[int, msgspec.Meta(ge=2)]

    def config(self) -> DeploymentConfig:
        """Guesses are none of a step's times: `plan` and `simulate` add what they cost and gain."""
        return DeploymentConfig(
            model=ModelConfig(path=self.path, quant=self.quant, context_length=self.context or "auto"),
            engine=EngineConfig(
                kv_format=self.kv_format,
                max_sequences=self.max_sequences,
                max_step_tokens=self.max_step_tokens,
                num_threads=self.threads or "auto",
            ),
            speculation=SpeculationConfig(method="none"),
        )


def _calibrate(given: Given, progress: Progress) -> Calibration:
    if not given.out.parent.is_dir():
        raise ConfigError(f"--out {given.out}: there is no folder {given.out.parent}")
    if given.url is not None:
        return _with_surroundings(given, given.url, progress)
    if given.table is not None or given.rate:
        raise ConfigError("--table and --rate are for a running endpoint: name it with --url")
    from llama4coder.calibration.measure import (
        measure_engine,  # torch takes seconds that errors above need not wait for
    )

    return measure_engine(Task.of(given.config(), progress), progress)


def _with_surroundings(given: Given, url: str, progress: Progress) -> Calibration:
    if given.table is None:
        raise ConfigError("--url needs --table: what `llama4coder calibrate` has measured of the engine alone")
    table = read_calibration(given.table)
    with EndpointClient(url, api_key()) as client:
        endpoint = Endpoint(client.url, client.first_model(), api_key())
    task = Task.of(given.config(), progress)
    sizes = Sizes(given.prompt_tokens, given.output_tokens, given.seconds / given.runs)
    loads = loads_for(task.served(table), sizes, given.rate or ())
    return measure_endpoint(task, table, endpoint, loads, given.runs, progress)
