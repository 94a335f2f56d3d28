"""`llama4coder perplexity`: what formats of weights and KV blocks cost a model on a text of one's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.cli.chat import INTERRUPTED_EXIT_CODE
from llama4coder.cli.console import output_console
from llama4coder.cli.inspect import BAD_INPUT_EXIT_CODE
from llama4coder.cli.perplexity_view import view
from llama4coder.cli.progress import RichProgress
from llama4coder.env import cache_dir
from llama4coder.errors import Llama4CoderError
from llama4coder.machine import detect_machine
from llama4coder.perplexity.formats import Format, all_pairs, kv_choices, quant_choices
from llama4coder.perplexity.report import Report
from llama4coder.perplexity.texts import read_text, windows_of
from llama4coder.progress import Progress
from llama4coder.shape import read_shape
from llama4coder.tokenizer.tokenizer import Tokenizer

_DEFAULT_CONTEXT = 2048

_SEVERAL = "again, or with commas, for several"

Formats = Annotated[list[str] | None, typer.Option(help=f"Of the weights: {', '.join(quant_choices())}; {_SEVERAL}.")]
KVFormats = Annotated[list[str] | None, typer.Option(help=f"Of KV blocks: {', '.join(kv_choices())}; {_SEVERAL}.")]


def register(app: typer.Typer) -> None:
    """Add the `perplexity` command."""
    app.command()(perplexity)


def perplexity(  # noqa: PLR0913 - a command's options
    path: Annotated[str, typer.Argument(help="A model folder, a .gguf file, or `embedded`.")],
    text: Annotated[list[Path], typer.Option(help="A UTF-8 file to score; again for several.")],
    quant: Formats = None,
    kv: KVFormats = None,
    context: Annotated[int | None, typer.Option(min=16, help="Tokens of a window; 2048, or all that it has.")] = None,
    tokens: Annotated[int, typer.Option(min=16, help="Most tokens to score.")] = 16384,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Score a text in every format by the engine's own steps, beside the model as it is."""
    try:
        formats = all_pairs(quant or (), kv or ())
        texts = [read_text(file) for file in text]
        report = _compare(path, texts, formats, _Limits(context, tokens), RichProgress())
    except Llama4CoderError as error:
        typer.echo(f"llama4coder: {error}", err=True)
        raise typer.Exit(BAD_INPUT_EXIT_CODE) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED_EXIT_CODE) from None
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
    else:
        output_console().print(view(report))


@dataclass(frozen=True, slots=True)
class _Limits:
    context_length: int | None
    most_tokens: int


def _compare(path: str, texts: Sequence[str], formats: Sequence[Format], limits: _Limits, progress: Progress) -> Report:
    from llama4coder.perplexity.measure import Task, measure  # torch takes seconds that errors above need not wait for

    folder = find_checkpoint(path, cache_dir(), progress)
    context_length = limits.context_length or min(_DEFAULT_CONTEXT, read_shape(folder).num_positions)
    windows = windows_of(texts, Tokenizer.from_folder(folder), context_length, limits.most_tokens)
    rows = measure(Task(folder, windows, context_length), formats, detect_machine(), progress)
    num_scored = sum(len(window) - 1 for window in windows)
    try:
        return Report.of(folder.name, num_scored, context_length, rows)
    finally:
        progress.finish()  # of a load that failed
