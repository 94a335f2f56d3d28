"""The `llama4coder` command."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cluster.serve_command import serve_locally
from cluster.serve_file import read_serve_file
from llama4coder.cli import chat, inspect, kv, perplexity, quantize, simulate
from llama4coder.errors import Llama4CoderError

_DEFAULT_FILE = "embedded-cpu.yaml"

app = typer.Typer(
    name="llama4coder",
    help="An OpenAI-compatible endpoint for Llama-family code models on your own machines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
chat.register(app)
kv.register(app)
inspect.register(app)
perplexity.register(app)
quantize.register(app)
simulate.register(app)


@app.callback()
def _root() -> None:
    """Keep `serve` a subcommand even if it is the only one."""


@app.command()
def serve(
    config: Annotated[Path | None, typer.Option(help="Ray Serve config file; the embedded model by default.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; wins over the file's.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; wins over the file's.", min=1, max=65535)] = None,
) -> None:
    """Start a private local Ray, deploy the file on it, and serve until Ctrl-C."""
    console = Console(stderr=True)
    try:
        status = serve_locally(read_serve_file(config or default_file(), host, port), console)
    except (Llama4CoderError, OSError) as error:
        typer.echo(f"llama4coder: {error}", err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(status)


def default_file() -> Path:
    """The file that is used when none is named: installed beside this package, or in the source tree."""
    installed = Path(str(files("cluster"))) / _DEFAULT_FILE
    return installed if installed.exists() else installed.parents[1] / "deploy" / "serve" / _DEFAULT_FILE


def main() -> None:
    """Entry point of the console script."""
    app()
