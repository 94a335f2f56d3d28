"""Decode and prefill speed of the engine beside its peers, each in a process of its own, in one interleaved run.

    make bench-engine ARGS="--rounds 5"
    .venv/bin/python -m tests.bench.engine [--model embedded|FOLDER|FILE.gguf] [--quant none int8 int4] [--rounds 5]
        [--vllm PYTHON] [--llama-cpp PYTHON [--gguf FILE]] [--no-transformers] [--batches 1 8 32] [--decode-tokens 64]

PYTHON is the interpreter of an environment that holds the peer; transformers is always there. All get the same prompts
of random tokens, the same number of tokens and threads, and one run to warm up. Decode: sequences with 32-token prompts
generate greedily, the prefill is not counted. Prefill: one prompt, until its first token. The floor is what reading the
format's weights once per token would allow, at the best memory bandwidth seen between the measurements. Every peer's
speed is followed by ours as a multiple of it, one per format of ours.

Overhead: the part of decoding's time at the largest batch that the rank (batch, model, sampler) is not at work, and the
part that is its sampler's.
"""

import argparse
import os
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from llama4coder.checkpoint.embedded import locate_embedded
from llama4coder.checkpoint.folder import EMBEDDED, find_checkpoint
from llama4coder.config import QuantFormat
from llama4coder.env import cache_dir
from llama4coder.progress import NullProgress
from llama4coder.shape import read_shape
from tests.bench.floor import bytes_per_token, gguf_bytes_per_token
from tests.bench.measure import describe_machine, interleaved, markdown_table, read_bandwidth_bytes_per_s
from tests.bench.workers.process import Worker
from tests.bench.workers.protocol import Task

NUM_PROMPT_TOKENS = 32
NO_QUANT: QuantFormat = "none"


@dataclass(frozen=True)
class Column:
    """One engine with one format of the weights."""

    worker: Worker
    num_bytes_per_token: int  # of weights
    is_ours: bool = False


class Bench:
    """The columns, and rows measured over them one after the other."""

    def __init__(self, columns: Sequence[Column], rounds: int, vocab_size: int) -> None:
        self._columns = columns
        self._rounds = rounds
        self._vocab_size = vocab_size
        self._random = random.Random(0)
        self._bandwidths: list[float] = []
        self.rows: list[list[str]] = []

    def speeds(self, name: str, task: Task) -> None:
        """A row of tokens/s."""
        speeds = self._medians(task, self._columns)
        ours = [speeds[column.worker.name] for column in self._columns if column.is_ours]
        cells = []
        for column in self._columns:
            speed = speeds[column.worker.name]
            ratios = " / ".join(f"{one / speed:.2f}x" for one in ours)
            cells.append(f"{speed:.1f}" if column.is_ours else f"{speed:.1f} ({ratios})")
        self._add(name, cells)

    def shares(self, name: str, task: Task) -> None:
        """A row of percentages of our time."""
        shares = self._medians(task, [column for column in self._columns if column.is_ours])
        self._add(name, [f"{100 * shares[c.worker.name]:.1f} %" if c.is_ours else "" for c in self._columns])

    def floors(self) -> float:
        """A row of floors at batch 1; returns the bandwidth in bytes/s."""
        bandwidth = max(self._bandwidths)
        self._add("floor at batch 1", [f"{bandwidth / column.num_bytes_per_token:.0f}" for column in self._columns])
        self._add("MiB of weights per token", [f"{column.num_bytes_per_token / 2**20:.0f}" for column in self._columns])
        return bandwidth

    def start_times(self) -> None:
        self._add("ready after, s", [f"{column.worker.ready_s:.1f}" for column in self._columns])

    def prompts(self, num_prompts: int, num_tokens: int) -> list[list[int]]:
        """Tokens that are neither special nor single bytes."""
        return [
            [self._random.randrange(1000, self._vocab_size - 1000) for _ in range(num_tokens)]
            for _ in range(num_prompts)
        ]

    def _medians(self, task: Task, columns: Sequence[Column]) -> Mapping[str, float]:
        self._bandwidths.append(read_bandwidth_bytes_per_s())
        workers = [column.worker for column in columns]
        for worker in workers:
            worker.measure(task)  # warm-up
        return interleaved({worker.name: partial(worker.measure, task) for worker in workers}, self._rounds)

    def _add(self, name: str, cells: Sequence[str]) -> None:
        self.rows.append([name, *cells])
        print(f"{name}: {', '.join(cells)}", file=sys.stderr, flush=True)  # the whole run takes long


def main() -> None:
    options = _parse()
    folder = find_checkpoint(options.model, cache_dir(), NullProgress())
    columns = list(_columns(options, folder))
    bench = Bench(columns, options.rounds, read_shape(folder).vocab_size)
    for batch_size in options.batches:
        prompts = bench.prompts(batch_size, NUM_PROMPT_TOKENS)
        bench.speeds(f"decode, batch {batch_size}", Task("decode", prompts, options.decode_tokens))
    bench.speeds(f"prefill, {options.prefill_tokens}", Task("prefill", bench.prompts(1, options.prefill_tokens), 1))
    largest = max(options.batches)
    for temperature in (0.0, 1.0):
        for measure, name in (("engine_share", "outside the rank"), ("sampler_share", "in the sampler")):
            prompts = bench.prompts(largest, NUM_PROMPT_TOKENS)
            task = Task(measure, prompts, options.decode_tokens, temperature)
            bench.shares(f"{name}, batch {largest}, temperature {temperature:g}", task)
    bandwidth = bench.floors()
    bench.start_times()
    for column in columns:
        column.worker.close()
    print(f"{folder.name}, {options.dtype}, {describe_machine(options.threads)}")
    print(
        f"{options.decode_tokens} tokens per sequence, median of {options.rounds} interleaved rounds, "
        f"memory read at {bandwidth / 1e9:.1f} GB/s"
    )
    header = ["tokens/s (ours / peer)", *(column.worker.name for column in columns)]
    print(markdown_table(header, bench.rows))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=EMBEDDED)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--quant", choices=(NO_QUANT, "int8", "int4"), nargs="+", default=[NO_QUANT])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--decode-tokens", type=int, default=64)
    parser.add_argument("--prefill-tokens", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--no-transformers", action="store_true")
    parser.add_argument("--vllm", metavar="PYTHON")
    parser.add_argument("--llama-cpp", metavar="PYTHON")
    parser.add_argument("--gguf", metavar="FILE", type=Path)
    options = parser.parse_args()
    if options.llama_cpp and options.gguf is None:
        options.gguf = _gguf_of(options.model) or parser.error("--llama-cpp needs --gguf FILE for this model")
    return options


def _gguf_of(model: str) -> Path | None:
    if model == EMBEDDED:
        return locate_embedded().path
    path = Path(model).expanduser()
    return path if path.is_file() else None


def _columns(options: argparse.Namespace, folder: Path) -> Iterator[Column]:
    shape, threads = read_shape(folder), str(options.threads)
    model = (str(folder), options.dtype, threads)
    num_bytes = bytes_per_token(shape, options.dtype, NO_QUANT)
    for quant in options.quant:
        name = "ours" if quant == NO_QUANT else f"ours {quant}"
        worker = Worker(name, sys.executable, "ours", (*model, quant))
        yield Column(worker, bytes_per_token(shape, options.dtype, quant), is_ours=True)
    if not options.no_transformers:
        yield Column(Worker("transformers", sys.executable, "transformers_peer", model), num_bytes)
    if options.vllm:
        yield Column(Worker("vLLM", options.vllm, "vllm_peer", model), num_bytes)
    if options.llama_cpp:
        worker = Worker("llama.cpp Q4", options.llama_cpp, "llama_cpp_peer", (str(options.gguf), threads))
        yield Column(worker, gguf_bytes_per_token(options.gguf))


if __name__ == "__main__":
    main()
