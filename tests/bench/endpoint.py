"""Streaming through the endpoint beside the engine alone, in turns, with the same prompts, temperature and lengths.

    make bench-endpoint
    .venv/bin/python -m tests.bench.endpoint [--url URL] [--compare URL] [--guidellm PROGRAM]
        [--streams 1 8 32] [--tokens 128] [--rounds 3] [--temperature 1.0]

Without --url a server with the embedded model is started. --compare puts the same load on any other OpenAI-compatible
server. Decoding counts from the moment when every stream has its first token; the engine's time to first token is one
prefill of all prompts. While the engine alone is measured the server idles, and the other way round.
"""

import argparse
import asyncio
import contextlib
import math
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.config import DeploymentConfig, ModelConfig
from llama4coder.env import cache_dir
from llama4coder.machine import detect_machine
from llama4coder.progress import NullProgress
from llama4coder.resolve import resolve
from llama4coder.shape import read_shape
from tests.bench import guidellm_run
from tests.bench.measure import describe_machine, interleaved, markdown_table
from tests.bench.streams import Load, StreamTimes, burst, decode_tokens_per_s
from tests.bench.workers.process import Worker
from tests.bench.workers.protocol import Task
from tests.support.live_server import live_server

NUM_PROMPT_TOKENS = 32
HEADER = ("streams", "tokens/s", "of the engine", "TTFT ms p50 / p99", "ITL ms p50 / p99", "E2E s p50 / p99")
ENGINE = "engine alone"


class Target:
    """A server under load; keeps every stream's times since `clear`."""

    def __init__(self, url: str, model: str) -> None:
        self.url = url
        self._model = model
        self._num_bursts = 0
        self.streams: list[StreamTimes] = []

    def clear(self) -> None:
        self.streams = []

    def decode(self, load: Load) -> float:
        """Tokens/s of one burst, whose prompts the server has not seen before: the engine alone caches none."""
        self._num_bursts += 1
        streams = asyncio.run(burst(self.url, self._model, load.beginning_with(self._num_bursts)))
        self.streams += streams
        return decode_tokens_per_s(streams, load.num_output_tokens)


def main() -> None:
    options = _parse()
    folder = find_checkpoint(options.folder, cache_dir(), NullProgress())
    print(f"{options.tokens} tokens per stream, temperature {options.temperature}, {describe_machine()}")
    with contextlib.ExitStack() as stack:
        urls = [options.url or stack.enter_context(_own_server(options.folder, options.model)).rstrip("/")]
        urls += [options.compare] if options.compare else []
        engine = _engine(folder)
        stack.callback(engine.close)
        targets = [Target(url, options.model) for url in urls]
        rows = [row for number in options.streams for row in _rows(options, engine, targets, folder, number)]
        print(markdown_table(["subject", *HEADER], rows))
        if options.guidellm:
            rows = [
                guidellm_run.measure(options.guidellm, url, options.model, folder, options.streams[-1], options.tokens)
                for url in urls
            ]
            print(f"\nGuideLLM, {options.streams[-1]} streams:\n\n" + markdown_table(guidellm_run.HEADER, rows))


def _rows(
    options: argparse.Namespace, engine: Worker, targets: Sequence[Target], folder: Path, num_streams: int
) -> Iterator[list[str]]:
    """The engine alone, then every server, at one number of streams."""
    prompts = _prompts(num_streams, read_shape(folder).vocab_size)
    load = Load(prompts, options.tokens, options.temperature)
    decode = Task("decode", prompts, options.tokens, options.temperature)
    prefill = Task("prefill", prompts, 1, options.temperature)
    calls: dict[str, Callable[[], float]] = {
        ENGINE: partial(engine.measure, decode),
        "prefill": partial(engine.measure, prefill),
    }
    calls |= {target.url: partial(target.decode, load) for target in targets}
    for call in calls.values():
        call()  # warm-up
    for target in targets:
        target.clear()
    speeds = interleaved(calls, options.rounds)
    first_ms = 1000 * num_streams * NUM_PROMPT_TOKENS / speeds["prefill"]
    yield [ENGINE, str(num_streams), f"{speeds[ENGINE]:.1f}", "", f"{first_ms:.0f}", "", ""]
    for target in targets:
        ratio = f"{100 * speeds[target.url] / speeds[ENGINE]:.1f} %"
        yield [target.url, str(num_streams), f"{speeds[target.url]:.1f}", ratio, *_latencies(target.streams)]


def _latencies(streams: Sequence[StreamTimes]) -> list[str]:
    first = [1000 * stream.first_s for stream in streams]
    gaps = [1000 * gap for stream in streams for gap in stream.gaps_s]
    whole = [stream.whole_s for stream in streams]
    return [f"{statistics.median(values):.1f} / {_p99(values):.1f}" for values in (first, gaps, whole)]


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


def _prompts(num_prompts: int, vocab_size: int) -> list[list[int]]:
    """Tokens that are neither special nor single bytes, wherever the vocabulary is large enough."""
    numbers = random.Random(num_prompts)
    low = min(1000, vocab_size // 2)
    return [[numbers.randrange(low, vocab_size - 1) for _ in range(NUM_PROMPT_TOKENS)] for _ in range(num_prompts)]


def _engine(folder: Path) -> Worker:
    """Our engine in a process of its own, with the settings that the server resolves for this machine."""
    resolved = resolve(DeploymentConfig(), folder, read_shape(folder), detect_machine())
    arguments = [str(folder), resolved.model.dtype, str(resolved.engine.num_threads), resolved.model.quant]
    return Worker(ENGINE, sys.executable, "ours", arguments)


@contextlib.contextmanager
def _own_server(folder: str, model: str) -> Iterator[str]:
    with live_server({"model": ModelConfig(path=folder, name=model).model_dump(include={"path", "name"})}) as server:
        yield server.url


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url")
    parser.add_argument("--compare")
    parser.add_argument("--folder", default="embedded", help="the model that the server serves")
    parser.add_argument("--model", default="smollm2-135m-instruct", help="its name there")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--guidellm", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
