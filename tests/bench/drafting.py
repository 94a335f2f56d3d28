"""A draft model beside the target, and in a pool of its own, on equal cores: a real pair with real acceptance.

    python -m tests.bench.drafting [--model FOLDER] [--draft-quant int4] [--draft-tokens 4] [--forks 0]
        [--batches 1 4 16] [--rounds 3] [--tokens 96] [--temperatures 0 0.8]

The draft model is the target with its weights in fewer bits. Plain decoding and `local` have two threads; with `pool`
the target has one and the draft replica, a process of its own, has the other. Prompts are pieces of Python source.
"""

import argparse
import inspect
import sys
import textwrap
from functools import partial
from pathlib import Path

from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.env import cache_dir
from llama4coder.progress import NullProgress
from llama4coder.tokenizer.tokenizer import Tokenizer
from tests.bench.measure import describe_machine, interleaved, markdown_table
from tests.bench.workers.process import Worker
from tests.bench.workers.protocol import Task

_PROMPT_TOKENS = 96
_THREADS = {"none": 2, "none, 1 thread": 1, "local": 2, "pool": 1}
_HEADER = (
    *("batch", "temperature", "plain tok/s", "plain, 1 thread", "local", "alpha", "k"),
    *("pool", "alpha", "k", "hit", "late", "round trip ms"),
)


def main() -> None:
    """Print a table with a line for each batch and temperature."""
    options = _parse()
    folder = find_checkpoint(options.model, cache_dir(), NullProgress())
    workers = {
        name: Worker(name, sys.executable, "speculating", _arguments(folder, name, options)) for name in _THREADS
    }
    prompts = _prompts(folder, max(options.batches))
    print(f"{folder.name}, bfloat16, draft {options.draft_quant}, up to {options.draft_tokens} tokens and", end=" ")
    print(f"{options.forks} forks, {describe_machine(2)}")
    rows = []
    for temperature in options.temperatures:
        for batch in options.batches:
            task = Task("decode", prompts[:batch], options.tokens, temperature)
            rows.append([str(batch), f"{temperature:g}", *_measure(workers, task, options.rounds)])
            print(*rows[-1], sep="\t", file=sys.stderr, flush=True)  # the whole run takes long
    for worker in workers.values():
        worker.close()
    print(markdown_table(_HEADER, rows))


def _measure(workers: dict[str, Worker], task: Task, rounds: int) -> list[str]:
    for worker in workers.values():
        worker.measure(task)  # warm-up, in which step times and acceptance are learned
    speeds = interleaved({name: partial(worker.measure, task) for name, worker in workers.items()}, rounds)

    def told(name: str, measure: str) -> str:
        return f"{workers[name].measure(Task(measure, [], 0)):.2f}"

    def beside_plain(name: str) -> str:
        return f"{speeds[name]:.1f} ({speeds[name] / speeds['none']:.2f}x)"

    return [
        f"{speeds['none']:.1f}",
        f"{speeds['none, 1 thread']:.1f}",
        beside_plain("local"),
        *(told("local", measure) for measure in ("acceptance", "draft_length")),
        beside_plain("pool"),
        *(
            told("pool", measure)
            for measure in ("acceptance", "draft_length", "hit_rate", "late_rate", "round_trip_ms")
        ),
    ]


def _arguments(folder: Path, name: str, options: argparse.Namespace) -> list[str]:
    target = [str(folder), "bfloat16", str(_THREADS[name])]
    return [*target, name.partition(",")[0], options.draft_quant, str(options.draft_tokens), str(options.forks)]


def _prompts(folder: Path, number: int) -> list[list[int]]:
    tokens = Tokenizer.from_folder(folder).encode(inspect.getsource(textwrap), add_bos=False)
    step = (len(tokens) - _PROMPT_TOKENS) // number
    return [tokens[step * index : step * index + _PROMPT_TOKENS] for index in range(number)]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--draft-quant", choices=("int8", "int4"), default="int4")
    parser.add_argument("--draft-tokens", type=int, default=4)
    parser.add_argument("--forks", type=int, default=0)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.0, 0.8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=96)
    return parser.parse_args()


if __name__ == "__main__":
    main()
