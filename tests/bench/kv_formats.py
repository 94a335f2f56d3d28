"""What each KV format costs in quality and gains in capacity, on real source code; one table.

    python -m tests.bench.kv_formats [--model embedded|coder.gguf] [--quant int8] [--tokens 8000] [--context 8192]
        [--needles 6] [--rounds 3] [--formats dense int8 fp8 int4]

Text is the standard library's own. Perplexity is teacher-forced over `--tokens` tokens in windows of `--context`, by
the engine's own steps; `loss` is the mean of the differences of log-probabilities to dense, token by token, with its
standard error. Top-1 is how often the likeliest next token is that of dense. A needle is an assignment in a prompt of
`--context` tokens, at depths that are equally far apart, each in a prompt of its own; it is asked for by its name,
greedily. Speeds are those of decoding 64 tokens after a prompt of half the context, and of eight such sequences, in
turns; with `--rounds 0` there are none. Models whose keys have biases, such as the coder, are refused with fp8: leave
it out (`--formats dense int8 int4`).
"""

import argparse
import contextlib
import math
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.config import KVFormat
from llama4coder.engine.engine import Engine
from llama4coder.env import cache_dir
from llama4coder.kv.sizing import BLOCK_SIZE, kv_bytes_per_block
from llama4coder.parallel.plan import RankPlan
from llama4coder.perplexity.scoring import Scored, run, score_window
from llama4coder.perplexity.windows import cut_windows
from llama4coder.progress import NullProgress
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import read_shape
from llama4coder.tokenizer.tokenizer import Tokenizer
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions
from tests.bench.library_text import library_sources
from tests.bench.measure import describe_machine, markdown_table
from tests.support.engines import build_engine, resolved

_DECODED = 64
_QUALITY = (
    *("KV format", "bytes per token", "capacity", "perplexity", "loss against dense, nats", "top-1 as dense"),
    "needles found",
)


class Subject:
    """An engine with one format."""

    def __init__(self, config: ResolvedConfig) -> None:
        self._engine: Engine = build_engine(config)
        self._num_requests = 0

    def score(self, window: Sequence[int]) -> Scored:
        """Teacher-forced."""
        return score_window(self._engine, window)

    def complete(self, prompt: Sequence[int], max_tokens: int) -> list[int]:
        """Greedily."""
        self._add(prompt, max_tokens)
        return [token for event in run(self._engine) for token in event.token_ids]

    def decode_tokens_per_s(self, prompts: Sequence[Sequence[int]]) -> float:
        """From the moment when all of them have their first token."""
        for prompt in prompts:
            self._add(prompt, _DECODED)
        begun: set[str] = set()
        num_tokens, start_s = 0, 0.0
        for event in run(self._engine):
            if len(begun) == len(prompts):
                start_s = start_s or time.perf_counter()
                num_tokens += len(event.token_ids)
            begun.add(event.request_id)
        return num_tokens / (time.perf_counter() - start_s)

    def close(self) -> None:
        self._engine.close()

    def _add(self, prompt: Sequence[int], max_tokens: int) -> None:
        self._num_requests += 1
        greedy = SamplingParams(temperature=0.0)
        request = GenerateRequest(str(self._num_requests), tuple(prompt), greedy, StopConditions(max_tokens), seed=0)
        self._engine.add(request)


def main() -> None:
    """Print the table; each line also as soon as it is there."""
    options = _parse()
    folder = find_checkpoint(options.model, cache_dir(), NullProgress())
    tokenizer = Tokenizer.from_folder(folder)
    text = [token for source in library_sources() for token in tokenizer.encode(source, add_bos=False)]
    windows = cut_windows(text[: options.tokens], options.context - 1)
    needles = Needles(text, tokenizer, options.context, options.needles)
    print(f"{folder.name}, weights {options.quant}", describe_machine(), sep=", ", flush=True)
    rows, dense = [], None
    for kv_format in options.formats:
        with _subject(folder, options, kv_format) as subject:
            scored = [subject.score(window) for window in windows]
            dense = dense or scored
            rows.append(
                [kv_format, *_size(folder, options, kv_format), *_quality(scored, dense), needles.found(subject)]
            )
        print(*rows[-1], sep="\t", file=sys.stderr, flush=True)
    if not options.rounds:
        print(markdown_table(_QUALITY, rows))
        return
    for row, speeds in zip(rows, _speeds(folder, options, text), strict=True):
        row += speeds
    print(markdown_table((*_QUALITY, "decode tok/s, 1", "decode tok/s, 8"), rows))


class Needles:
    """An assignment hidden in code at one depth or another, and whether a model finds it again."""

    def __init__(self, text: Sequence[int], tokenizer: Tokenizer, context: int, number: int) -> None:
        self._tokenizer = tokenizer
        self._hay = list(text[: context - 96])
        values = random.Random(0)
        self._needles = {f"SECRET_{name}_PORT": str(values.randint(10000, 99999)) for name in _NAMES[:number]}

    def found(self, subject: Subject) -> str:
        """How many of how many."""
        num_found = 0
        for index, (name, value) in enumerate(self._needles.items()):
            cut = len(self._hay) * (2 * index + 1) // (2 * len(self._needles))
            needle, question = self._encode(f"\n{name} = {value}\n"), self._encode(f"\nassert {name} ==")
            prompt = [*self._hay[:cut], *needle, *self._hay[cut:], *question]
            num_found += value in self._tokenizer.decode(subject.complete(prompt, 8))
        return f"{num_found} of {len(self._needles)}"

    def _encode(self, text: str) -> Sequence[int]:
        return self._tokenizer.encode(text, add_bos=False)


_NAMES = ("ALPHA", "BRAVO", "CEDAR", "DELTA", "EMBER", "FJORD", "GRANITE", "HARBOR")


@contextlib.contextmanager
def _subject(folder: Path, options: argparse.Namespace, kv_format: KVFormat) -> Iterator[Subject]:
    num_blocks = 5 * options.context // BLOCK_SIZE
    config = resolved(
        folder,
        num_blocks=num_blocks,
        context_length=options.context,
        dtype="bfloat16",
        quant=options.quant,
        kv_format=kv_format,
        num_threads=options.threads,
        max_sequences=8,
    )
    subject = Subject(config)
    try:
        yield subject
    finally:
        subject.close()


def _size(folder: Path, options: argparse.Namespace, kv_format: KVFormat) -> list[str]:
    plan = RankPlan.alone(read_shape(folder))
    dense, own = (kv_bytes_per_block(plan, "bfloat16", one) for one in ("dense", kv_format))
    return [f"{own / BLOCK_SIZE:,.0f}", f"{dense / own:.2f}x"]


def _quality(scored: Sequence[Scored], dense: Sequence[Scored]) -> list[str]:
    logprobs = [one for window in scored for one in window.logprobs]
    losses = [
        exact - own
        for window, reference in zip(scored, dense, strict=True)
        for own, exact in zip(window.logprobs, reference.logprobs, strict=True)
    ]
    same = [
        own == exact
        for window, reference in zip(scored, dense, strict=True)
        for own, exact in zip(window.likeliest, reference.likeliest, strict=True)
    ]
    error = statistics.stdev(losses) / math.sqrt(len(losses))
    return [
        f"{math.exp(-statistics.mean(logprobs)):.3f}",
        f"{statistics.mean(losses):+.5f} ± {error:.5f}",
        f"{100 * statistics.mean(same):.2f} %",
    ]


def _speeds(folder: Path, options: argparse.Namespace, text: Sequence[int]) -> list[list[str]]:
    """Of each format with one and with eight sequences."""
    half = options.context // 2
    ones = [text[:half]]
    eights = [text[index * 64 : index * 64 + half] for index in range(8)]
    with contextlib.ExitStack() as stack:
        subjects = [stack.enter_context(_subject(folder, options, one)) for one in options.formats]
        taken: list[tuple[list[float], list[float]]] = [([], []) for _ in subjects]
        for _ in range(options.rounds):
            for subject, (one, eight) in zip(subjects, taken, strict=True):
                one.append(subject.decode_tokens_per_s(ones))
                eight.append(subject.decode_tokens_per_s(eights))
    medians = [(statistics.median(one), statistics.median(eight)) for one, eight in taken]
    return [
        [f"{speed:.1f} ({speed / first:.2f}x)" for speed, first in zip(pair, medians[0], strict=True)]
        for pair in medians
    ]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--quant", choices=("none", "int8", "int4"), default="none")
    parser.add_argument("--formats", nargs="+", default=["dense", "int8", "fp8", "int4"])
    parser.add_argument("--tokens", type=int, default=8000)
    parser.add_argument("--context", type=int, default=8192)
    parser.add_argument("--needles", type=int, default=6, choices=range(len(_NAMES) + 1))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
