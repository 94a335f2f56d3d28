"""`llama4coder inspect`: what a model is, under which licence, how large, and whether it would be served here."""

from typing import Annotated

import msgspec
import typer

from llama4coder.cli.console import output_console
from llama4coder.cli.inspect_view import view
from llama4coder.errors import Llama4CoderError
from llama4coder.inspection.report import inspect_model
from llama4coder.machine import detect_machine

BAD_INPUT_EXIT_CODE = 2  # as for options that typer refuses


def register(app: typer.Typer) -> None:
    """Add the `inspect` command."""
    app.command()(inspect)


def inspect(
    path: Annotated[str, typer.Argument(help="A model folder, a .gguf file, or `embedded`.")],
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Show what a model is, its licence, its size in every format, and whether it would be served here."""
    try:
        inspection = inspect_model(path, detect_machine())
    except Llama4CoderError as error:
        typer.echo(f"llama4coder: {error}", err=True)
        raise typer.Exit(BAD_INPUT_EXIT_CODE) from None
    if as_json:
        typer.echo(msgspec.json.encode(inspection).decode())
    else:
        output_console().print(view(inspection))
