"""What verifying costs on a CPU: a step of several tokens of one sequence beside a step of one, and beside its floor.

    .venv/bin/python -m tests.bench.verify [--model embedded|FOLDER|1b|8b] [--quant none int8 int4]
        [--contexts 256 2048] [--tokens 1 2 4 5 6 8] [--rounds 15] [--threads 2]

A step is a forward pass with logits for every token and a draw at each, over random weights of the model's sizes and
random KV. Steps of all sizes are run in turns, so that a noisy minute hits all of them; figures are medians. The
floor reads weights and KV once at the best memory bandwidth seen in the run; `beside 1` is relative to the first number
of tokens. `products`, `attention`, `head` and `draw` are the step's parts, each over all layers, run alone and called
from Python.
"""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from llama4coder.checkpoint.folder import EMBEDDED, find_checkpoint
from llama4coder.engine.hardware import choose_kernels
from llama4coder.env import cache_dir
from llama4coder.models.random_weights import SHAPES
from llama4coder.models.weights import Placement
from llama4coder.progress import NullProgress
from llama4coder.shape import ModelShape, read_shape
from tests.bench.gpu_steps import verification
from tests.bench.gpu_subject import Batch, Room, Subject, build_subject
from tests.bench.measure import describe_machine, interleaved, markdown_table, read_bandwidth_bytes_per_s, timed
from tests.bench.verify_parts import parts_of

HEADER = (
    "weights",
    "context",
    "tokens",
    "step ms",
    "beside 1",
    "of floor",
    "products",
    "attention",
    "head",
    "draw",
)


@dataclass(frozen=True)
class Measured:
    """One step: how long it and its parts took, and what it has to read."""

    weights: str
    batch: Batch
    num_bytes: int
    seconds: Mapping[str, float]

    def row(self, one_token_s: float, bytes_per_s: float) -> list[str]:
        """A line of the table."""
        step_s, *parts = (self.seconds[name] for name in ("step", *HEADER[-4:]))
        return [
            self.weights,
            str(self.batch.context),
            str(self.batch.tokens_per_row),
            f"{1e3 * step_s:.1f}",
            f"{step_s / one_token_s:.2f}x",
            f"{step_s * bytes_per_s / self.num_bytes:.2f}x",
            *(f"{1e3 * part_s:.1f}" for part_s in parts),
        ]


def main() -> None:
    """Print a line per format, context and number of tokens."""
    options = _parse()
    torch.set_num_threads(options.threads)
    placement, shape = Placement(torch.bfloat16, torch.device("cpu")), _shape(options.model)
    bandwidths: list[float] = []
    series: list[list[Measured]] = []
    for quant in options.quant:
        kernels = choose_kernels(placement, quant, options.threads)
        subject = build_subject(quant, shape, kernels, placement, Room(1, max(options.contexts)))
        for context in options.contexts:
            bandwidths.append(read_bandwidth_bytes_per_s())
            series.append(_measure(subject, [Batch(1, context, tokens) for tokens in options.tokens], options.rounds))
    print(f"{options.model}, {describe_machine(options.threads)}, memory read at {max(bandwidths) / 1e9:.1f} GB/s")
    rows = [step.row(steps[0].seconds["step"], max(bandwidths)) for steps in series for step in steps]
    print(markdown_table(HEADER, rows))


def _measure(subject: Subject, batches: Sequence[Batch], rounds: int) -> list[Measured]:
    """Steps and parts of all batches in the same rounds."""
    calls: dict[str, Callable[[], float]] = {}
    for batch in batches:
        step = {"step": verification(subject, subject.eager_lane(), batch), **parts_of(subject, batch)}
        calls |= {f"{name} {batch.tokens_per_row}": partial(timed, call) for name, call in step.items()}
    for call in calls.values():
        call()  # warm-up
    seconds = interleaved(calls, rounds)
    return [
        Measured(
            subject.name,
            batch,
            subject.weight_bytes + subject.kv_bytes(batch),
            {name: seconds[f"{name} {batch.tokens_per_row}"] for name in ("step", *HEADER[-4:])},
        )
        for batch in batches
    ]


def _shape(model: str) -> ModelShape:
    return SHAPES[model] if model in SHAPES else read_shape(find_checkpoint(model, cache_dir(), NullProgress()))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=EMBEDDED)
    parser.add_argument("--quant", choices=("none", "int8", "int4"), nargs="+", default=["none", "int8", "int4"])
    parser.add_argument("--contexts", type=int, nargs="+", default=[256, 2048])
    parser.add_argument("--tokens", type=int, nargs="+", default=[1, 2, 4, 5, 6, 8])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
