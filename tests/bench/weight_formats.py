"""What each format of the weights costs in quality, with each format of KV blocks, on real source code; tables.

    python -m tests.bench.weight_formats [--models embedded coder.gguf] [--quants int8 int4 fp8 nf4]
        [--kv-formats dense int8 int4] [--tokens 24000] [--context 2048] [--dtype bfloat16]

Text is the standard library's own; perplexity is teacher-forced, by the engine's own steps, as `llama4coder perplexity`
measures it, with 95 % intervals of the perplexity and of its difference to the model as it is. Speed is that of this
prefill. What may be lost with dense KV is asked of Qwen2.5-Coder 1.5B: at most 1.5 % with fp8, 6 % with nf4. It is
printed of every model whether that is met; smaller ones lose more.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.config import QuantFormat
from llama4coder.env import cache_dir
from llama4coder.machine import Machine, detect_machine
from llama4coder.perplexity.formats import Format, all_pairs, kv_choices, quant_choices
from llama4coder.perplexity.interval import Estimate
from llama4coder.perplexity.measure import Task, measure
from llama4coder.perplexity.report import Row
from llama4coder.perplexity.texts import windows_of
from llama4coder.progress import NullProgress
from llama4coder.tokenizer.tokenizer import Tokenizer
from tests.bench.library_text import library_sources
from tests.bench.measure import describe_machine, markdown_table

MOST_LOST_PERCENT: Mapping[QuantFormat, float] = {"fp8": 1.5, "nf4": 6.0}

_HEADING = ("weights", "KV", "rest", "perplexity", "95 %", "loss", "95 %", "weights, MB", "KV per token", "tok/s")


def main() -> None:
    """Print a table per model, each line also as soon as it is there, and what was asked of it."""
    options = _parse()
    print(describe_machine())
    for model in options.models:
        folder = find_checkpoint(model, cache_dir(), NullProgress())
        rows = _measure(folder, options, detect_machine())
        print(f"\n{folder.name}, {options.tokens} tokens in windows of {options.context}\n")
        print(markdown_table(_HEADING, [_cells(row) for row in rows if row.measured is not None]))
        print("", *(f"{row.format}: {row.refusal}" for row in rows if row.refusal), *judge(rows), sep="\n", flush=True)


def judge(rows: Sequence[Row]) -> list[str]:
    """Whether each format that may lose so much does not lose more, by the difference itself."""
    return [
        f"{quant} <= +{most} %: {_outcome(_loss_of(quant, rows), most)}" for quant, most in MOST_LOST_PERCENT.items()
    ]


def _loss_of(quant: QuantFormat, rows: Sequence[Row]) -> Estimate | None:
    found = (row.measured for row in rows if row.format == Format(quant, "dense") and row.measured is not None)
    return next((measured.difference_percent for measured in found), None)


def _outcome(loss: Estimate | None, most_percent: float) -> str:
    if loss is None:
        return "NOT MEASURED"
    return f"{'met' if loss.value <= most_percent else 'NOT MET'}: {loss.value:+.2f} % ({_interval(loss, '+.2f')})"


def _measure(folder: Path, options: argparse.Namespace, machine: Machine) -> list[Row]:
    windows = windows_of(library_sources(), Tokenizer.from_folder(folder), options.context, options.tokens)
    task = Task(folder, windows, options.context, options.dtype)
    rows = []
    for row in measure(task, all_pairs(options.quants, options.kv_formats), machine, NullProgress()):
        rows.append(row)
        print(*(_cells(row) if row.measured else (row.format, row.refusal)), sep="\t", file=sys.stderr, flush=True)
    return rows


def _cells(row: Row) -> list[str]:
    measured = row.measured
    assert measured is not None
    loss = measured.difference_percent
    return [
        row.format.quant,
        row.format.kv_format,
        measured.dtype,
        f"{measured.perplexity.value:.4f}",
        _interval(measured.perplexity, ".3f"),
        "" if loss is None else f"{loss.value:+.2f} %",
        "" if loss is None else _interval(loss, "+.2f"),
        f"{measured.weight_bytes / 1e6:,.1f}",
        f"{measured.kv_bytes_per_token:,.0f}",
        f"{measured.tokens_per_s:.1f}",
    ]


def _interval(estimate: Estimate, spec: str) -> str:
    interval = estimate.interval
    return "no interval" if interval is None else f"{interval.low:{spec}} to {interval.high:{spec}}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["embedded"])
    parser.add_argument("--quants", nargs="+", default=[quant for quant in quant_choices() if quant != "auto"])
    parser.add_argument("--kv-formats", nargs="+", default=list(kv_choices()))
    parser.add_argument("--tokens", type=int, default=24000)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--dtype", default="bfloat16")
    return parser.parse_args()


if __name__ == "__main__":
    main()
