"""Decode and prefill speed of the engine beside its peers, each in a process of its own, in one interleaved run.

    make bench
    .venv/bin/python -m tests.bench.engine [--dtype bfloat16] [--rounds 5] [--model FOLDER]
        [--vllm PYTHON] [--llama-cpp PYTHON --gguf FILE]

PYTHON is the interpreter of an environment that holds the peer; transformers is always there. Decode: sequences with
32-token prompts generate greedily, the prefill is not counted. Prefill: one prompt, until its first token. The floor is
what reading the weights once per token would allow at the memory bandwidth measured in the same run.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.env import cache_dir
from llama4coder.kv.sizing import weight_bytes
from llama4coder.progress import NullProgress
from llama4coder.shape import read_shape
from tests.bench.measure import describe_machine, interleaved, markdown_table, read_bandwidth_bytes_per_s
from tests.bench.workers.protocol import Task

BATCH_SIZES = (1, 8, 32)
NUM_PROMPT_TOKENS = 32
NUM_OUTPUT_TOKENS = 64
NUM_PREFILL_TOKENS = 2048


class Worker:
    """A peer's process; `ready_s` is how long it took from start to ready."""

    def __init__(self, name: str, command: Sequence[str], *, batches: bool = True) -> None:
        self.name = name
        self.batches = batches
        started_s = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": os.getcwd(), "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "2"},
        )
        self._read()
        self.ready_s = time.perf_counter() - started_s

    def measure(self, task: Task) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write(task.to_json() + "\n")
        self._process.stdin.flush()
        return float(self._read()["tokens_per_s"])

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def _read(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended with status {self._process.wait()}")
        answer: dict[str, float] = json.loads(line)
        return answer


def main() -> None:
    options = _parse()
    folder = find_checkpoint(options.model, cache_dir(), NullProgress())
    workers = list(_workers(options, folder))
    generator = random.Random(0)
    vocab_size = read_shape(folder).vocab_size

    def task(measure: str, num_prompts: int, num_tokens: int) -> Task:
        prompts = [
            [generator.randrange(1000, vocab_size - 1000) for _ in range(num_tokens)] for _ in range(num_prompts)
        ]
        return Task(measure, prompts, NUM_OUTPUT_TOKENS if measure == "decode" else 1)

    rows = []
    for batch_size in BATCH_SIZES:
        decode = task("decode", batch_size, NUM_PROMPT_TOKENS)
        rows.append(_row(f"decode, batch {batch_size}", workers, decode, options.rounds))
    prefill = task("prefill", 1, NUM_PREFILL_TOKENS)
    rows.append(_row(f"prefill, {NUM_PREFILL_TOKENS}", workers, prefill, options.rounds))
    rows.append(["ready after, s", *(f"{worker.ready_s:.1f}" for worker in workers)])
    for worker in workers:
        worker.close()
    print(f"{folder.name}, {options.dtype}, {describe_machine()}, median of {options.rounds} interleaved rounds")
    print(_floor(folder, options.dtype))
    print(markdown_table(["tokens/s (ours / peer)", *(worker.name for worker in workers)], rows))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vllm", metavar="PYTHON")
    parser.add_argument("--llama-cpp", metavar="PYTHON")
    parser.add_argument("--gguf", metavar="FILE")
    return parser.parse_args()


def _workers(options: argparse.Namespace, folder: Path) -> Sequence[Worker]:
    def worker(name: str, python: str, module: str, *arguments: str, batches: bool = True) -> Worker:
        return Worker(name, [python, "-m", f"tests.bench.workers.{module}", *arguments], batches=batches)

    model = (str(folder), options.dtype)
    workers = [
        worker("ours", sys.executable, "ours", *model),
        worker("transformers", sys.executable, "transformers_peer", *model),
    ]
    if options.vllm:
        workers.append(worker("vLLM", options.vllm, "vllm_peer", *model))
    if options.llama_cpp:
        arguments = (options.gguf, str(os.cpu_count() or 1))
        workers.append(worker("llama.cpp Q4", options.llama_cpp, "llama_cpp_peer", *arguments, batches=False))
    return workers


def _row(name: str, workers: Sequence[Worker], task: Task, rounds: int) -> list[str]:
    taking_part = [worker for worker in workers if worker.batches or len(task.prompts) == 1]
    for worker in taking_part:
        worker.measure(task)  # warm-up
    medians = interleaved({worker.name: lambda worker=worker: worker.measure(task) for worker in taking_part}, rounds)
    ours = medians["ours"]
    cells = [f"{ours:.1f}"]
    for worker in workers[1:]:
        peer = medians.get(worker.name)
        cells.append("" if peer is None else f"{peer:.1f} ({ours / peer:.2f}x)")
    return [name, *cells]


def _floor(folder: Path, dtype: str) -> str:
    bandwidth = read_bandwidth_bytes_per_s()
    num_bytes = weight_bytes(read_shape(folder), "bfloat16" if dtype == "bfloat16" else "float32")
    return (
        f"floor at batch 1: {bandwidth / num_bytes:.0f} tokens/s "
        f"({num_bytes / 2**20:.0f} MiB of weights at {bandwidth / 1e9:.1f} GB/s)"
    )


if __name__ == "__main__":
    main()
