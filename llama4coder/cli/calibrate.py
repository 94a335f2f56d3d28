"""`llama4coder calibrate`: step times of an engine, for `plan` and `simulate`."""

from pathlib import Path
from typing import Annotated, Protocol

import typer

from llama4coder.calibration.endpoint import Endpoint
from llama4coder.calibration.serving import Sizes, loads_for, measure_endpoint
from llama4coder.calibration.task import Task
from llama4coder.cli.calibrate_options import Given
from llama4coder.cli.calibrate_view import view
from llama4coder.cli.checked import checked_as
from llama4coder.cli.client import EndpointClient
from llama4coder.cli.console import output_console
from llama4coder.cli.progress import RichProgress
from llama4coder.config import DeploymentConfig, EngineConfig
from llama4coder.env import api_key
from llama4coder.errors import Llama4CoderError
from llama4coder.machine import Machine, detect_machine
from llama4coder.planner.calibration import Calibration, read_calibration
from llama4coder.progress import Progress

_ENGINE = EngineConfig()
INTERRUPTED_EXIT_CODE = 130


class Cluster(Protocol):
    """What only Ray can do; `address` is that of a running one, None starts one on this machine and ends it again.

    Both raise `ConfigError` where the operator must change something, such as an address at which there is no Ray,
    `Unavailable` where ranks were lost, and `typer.Exit` when a signal asks for the end. Nothing of theirs is left.
    """

    def measure(self, config: DeploymentConfig, address: str | None, progress: Progress) -> Calibration:
        """Time the engine's steps on ranks in processes of their own."""
        ...

    def machine(self, config: DeploymentConfig, address: str) -> Machine:
        """What the machines there offer each rank."""
        ...


def register(app: typer.Typer, cluster: Cluster) -> None:
    """Add the `calibrate` command."""
    app.command(context_settings={"obj": cluster})(calibrate)


def calibrate(  # noqa: PLR0913 - a command's options
    ctx: typer.Context,
    path: Annotated[str, typer.Argument(help="A model folder, a .gguf file, or `embedded`.")],
    out: Annotated[Path, typer.Option(help="The .yaml file to write.")],
    ranks: Annotated[int, typer.Option(help="As `engine.ranks`; several on a Ray of this machine's own.")] = 1,
    kv_shards: Annotated[int | None, typer.Option(help="As `engine.kv_shards`.")] = None,
    address: Annotated[
        str | None, typer.Option(help="Head of a running Ray, host:port, whose nodes are measured instead.")
    ] = None,
    ranks_per_node: Annotated[
        list[int] | None, typer.Option(help="With --address, as `placement.ranks_per_node`: again for each node.")
    ] = None,
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
        given.check()
        found = _calibrate(given, ctx.obj, RichProgress())
        found.write(given.out)
    except Llama4CoderError as error:
        typer.echo(f"llama4coder: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED_EXIT_CODE) from None
    output_console().print(view(found))


def _calibrate(given: Given, cluster: Cluster, progress: Progress) -> Calibration:
    if given.url is not None and given.table is not None:
        return _with_surroundings(given, given.url, given.table, cluster, progress)
    config = given.config()
    if config.engine.ranks > 1 or given.address is not None:
        return cluster.measure(config, given.address, progress)
    from llama4coder.calibration.measure import measure_engine
    from llama4coder.calibration.own_rank import open_own_rank  # torch takes seconds that errors need not wait for

    task = Task.of(config, detect_machine(config.engine.device), progress)
    return measure_engine(task, open_own_rank(task.config, progress), progress)


def _with_surroundings(given: Given, url: str, path: Path, cluster: Cluster, progress: Progress) -> Calibration:
    table, config = read_calibration(path), given.config()
    with EndpointClient(url, api_key()) as client:
        endpoint = Endpoint(client.url, client.first_model(), api_key())
    if given.address is None:
        machine = detect_machine(config.engine.device, lends_gpus=True)  # the endpoint has what it needs of them now
    else:
        machine = cluster.machine(config, given.address)
    task = Task.of(config, machine, progress)
    sizes = Sizes(given.prompt_tokens, given.output_tokens, given.seconds / given.runs)
    loads = loads_for(task.served(table), sizes, given.rate or ())
    return measure_endpoint(task, table, endpoint, loads, given.runs, progress)
