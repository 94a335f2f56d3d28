"""The `llama4coder` command."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cluster.calibrate_command import RayCalibration
from cluster.serve_command import serve_locally
from cluster.serve_file import Security, read_serve_file
from cluster.tls import tls_files
from llama4coder.cli import calibrate, chat, inspect, keys, kv, perplexity, plan, quantize, simulate, top
from llama4coder.errors import ConfigError, Llama4CoderError

_DEFAULT_FILE = "embedded-cpu.yaml"
_NOT_EMPTY = 3  # exit status of `drain`

app = typer.Typer(
    name="llama4coder",
    help="An OpenAI-compatible endpoint for Llama-family code models on your own machines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
calibrate.register(app, RayCalibration(Console(stderr=True)))
chat.register(app)
kv.register(app)
keys.register(app)
inspect.register(app)
perplexity.register(app)
plan.register(app)
quantize.register(app)
simulate.register(app)
top.register(app)


@app.callback()
def _root() -> None:
    """Keep `serve` a subcommand even if it is the only one."""


@app.command()
def serve(
    config: Annotated[Path | None, typer.Option(help="Ray Serve config file; the embedded model by default.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; wins over the file's.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; wins over the file's.", min=1, max=65535)] = None,
    keys_file: Annotated[Path | None, typer.Option(help="API keys (llama4coder keys); wins over the file's.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate and its chain, for https (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's key (PEM).")] = None,
) -> None:
    """Start a private local Ray, deploy the file on it, and serve until Ctrl-C."""
    console = Console(stderr=True)
    try:
        security = Security(keys_file, tls_files({"ssl_certfile": tls_cert, "ssl_keyfile": tls_key}))
        status = serve_locally(read_serve_file(config or default_file(), host, port, security), console)
    except (Llama4CoderError, OSError) as error:
        typer.echo(f"llama4coder: {error}", err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(status)


@app.command()
def drain(
    node: Annotated[str | None, typer.Option(help="Id or address of the node; this machine's by default.")] = None,
    timeout_s: Annotated[float, typer.Option(help="Seconds until the node goes.", min=1)] = 600.0,
    address: Annotated[str | None, typer.Option(help="Ray's head, host:port; that of this machine by default.")] = None,
    others: Annotated[
        bool, typer.Option("--others", help="Drain nothing: wait for nodes that drain, as a head.")
    ] = False,
) -> None:
    """Empty a node of the cluster before it goes; exit status 0: nothing runs there any more, 3: something still does.

    Its replicas are replaced on other nodes, and what they have not finished goes on there.
    """
    from cluster.drain_command import Head, outlast
    from cluster.drain_command import drain as drain_node

    try:
        if others and node is not None:
            raise ConfigError("--others waits for all nodes that are being drained; leave --node out")
        head = Head(address)
        is_empty = outlast(head, timeout_s, typer.echo) if others else drain_node(head, node, timeout_s, typer.echo)
    except Llama4CoderError as error:
        typer.echo(f"llama4coder: {error}", err=True)
        raise typer.Exit(1) from None
    left = "a node is still being drained" if others else "the node is not empty"
    gone = "no node is being drained" if others else "the node is empty"
    typer.echo(gone if is_empty else f"the time is over, and {left}")
    raise typer.Exit(0 if is_empty else _NOT_EMPTY)


def default_file() -> Path:
    """The file that is used when none is named: installed beside this package, or in the source tree."""
    installed = Path(str(files("cluster"))) / _DEFAULT_FILE
    return installed if installed.exists() else installed.parents[1] / "deploy" / "serve" / _DEFAULT_FILE


def main() -> None:
    """Entry point of the console script."""
    app()
