"""`llama4coder quantize`: a checkpoint with its matrices in fewer bits."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llama4coder.cli.progress import RichProgress
from llama4coder.errors import Llama4CoderError
from llama4coder.tokenizer.files import read_json

if TYPE_CHECKING:
    from llama4coder.convert.forms import WeightForm


class TargetForm(StrEnum):
    """What the command writes."""

    NF4 = "nf4"
    FP8 = "fp8"


def register(app: typer.Typer) -> None:
    """Add the `quantize` command."""
    app.command()(quantize)


def quantize(
    source: Annotated[Path, typer.Argument(help="Checkpoint folder (safetensors).")],
    target: Annotated[Path, typer.Argument(help="New folder.")],
    to: Annotated[TargetForm, typer.Option(help="nf4: bitsandbytes; fp8: compressed-tensors, a scale per output.")],
    double_quant: Annotated[bool, typer.Option("--double-quant", help="nf4's scales in 8 bits themselves.")] = False,
    exclude: Annotated[list[str] | None, typer.Option(help="Modules to leave as they are: *.down_proj.")] = None,
) -> None:
    """Write a checkpoint in fewer bits, that loads here and in transformers."""
    # Torch takes seconds to import, and other commands do without.
    from llama4coder.convert.quantise import Conversion, quantise_folder
    from llama4coder.exclusions import Exclusions

    try:
        conversion = Conversion(_form(to, source, is_double=double_quant), Exclusions(tuple(exclude or ())))
        quantise_folder(source, target, conversion, RichProgress())
    except (Llama4CoderError, OSError) as error:
        typer.echo(f"llama4coder: {error}", err=True)
        raise typer.Exit(1) from None


def _form(to: TargetForm, source: Path, *, is_double: bool) -> "WeightForm":
    from llama4coder.convert.forms import BitsAndBytesNf4, CompressedFp8

    if to is TargetForm.FP8:
        if is_double:
            raise typer.BadParameter("--double-quant is for nf4, whose scales are many")
        return CompressedFp8()
    config = read_json(source / "config.json")
    return BitsAndBytesNf4(is_double, str(config.get("dtype") or config.get("torch_dtype") or "bfloat16"))
