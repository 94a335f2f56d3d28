"""Code edits with and without guesses: the prompt holds a piece of code, the answer repeats most of it.

    python -m tests.bench.edits [--model coder.gguf] [--quant int8] [--rounds 1] [--tokens 320] [--edits 4]

One request at a time, greedy, in turns: plain decoding, n-grams, and n-grams with the old code as the request's
prediction. Prompts are not counted. The answers of all three are compared.
"""

import argparse
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.config import DeploymentConfig, EngineConfig, ModelConfig
from llama4coder.engine.engine import Engine
from llama4coder.engine.loading_rank import load_runner
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.env import cache_dir
from llama4coder.machine import detect_machine
from llama4coder.obs.stats import NullObserver
from llama4coder.progress import NullProgress
from llama4coder.resolve import resolve
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import read_shape
from llama4coder.spec.ngram import NgramProposer
from llama4coder.spec.speculator import Speculator
from llama4coder.tokenizer.tokenizer import Tokenizer
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions
from tests.bench.edit_prompts import EditPrompt, edit_prompts
from tests.bench.measure import describe_machine, markdown_table

_MAX_DRAFT_TOKENS = 8
_WAYS = ("plain", "n-gram", "prediction")


@dataclass(frozen=True, slots=True)
class Answer:
    """One request's; steps and speed count from its first token on."""

    token_ids: tuple[int, ...]
    num_steps: int
    time_s: float

    @property
    def tokens_per_s(self) -> float:
        return (len(self.token_ids) - 1) / self.time_s

    @property
    def tokens_per_step(self) -> float:
        return (len(self.token_ids) - 1) / self.num_steps


class Bench:
    """One engine that always may guess; a request that must not says so."""

    def __init__(self, config: ResolvedConfig, eos_token_ids: frozenset[int], max_tokens: int) -> None:
        vocab_size = read_shape(Path(config.model.path)).vocab_size
        speculator = Speculator(NgramProposer(), vocab_size, _MAX_DRAFT_TOKENS, NullObserver())
        executor = LocalExecutor(load_runner(config, NullProgress()).launch)
        self._engine = Engine(config, executor, NullObserver(), speculator)
        self._stop = StopConditions(max_tokens, stop_token_ids=eos_token_ids)
        self._num_requests = 0

    def answer(self, prompt: EditPrompt, way: str) -> Answer:
        """Of one request alone."""
        self._num_requests += 1
        self._engine.add(
            GenerateRequest(
                str(self._num_requests),
                prompt.token_ids,
                SamplingParams(temperature=0.0),
                self._stop,
                seed=0,
                prediction_token_ids=prompt.prediction if way == "prediction" else (),
                speculates=way != "plain",
            )
        )
        token_ids: list[int] = []
        num_steps, start_s = 0, 0.0
        while self._engine.has_work:
            self._engine.await_turn()
            for event in self._engine.step():
                num_steps += bool(token_ids)
                start_s = start_s or time.perf_counter()
                token_ids += event.token_ids
                end_s = time.perf_counter()
        return Answer(tuple(token_ids), num_steps, end_s - start_s)

    def close(self) -> None:
        self._engine.close()


def main() -> None:
    """Print a table with a line for each edit."""
    options = _parse()
    folder = find_checkpoint(options.model, cache_dir(), NullProgress())
    config = DeploymentConfig(
        model=ModelConfig(path=str(folder), quant=options.quant, context_length=4096),
        engine=EngineConfig(max_sequences=2),
    )
    resolved = resolve(config, folder, read_shape(folder), detect_machine())
    tokenizer = Tokenizer.from_folder(folder)
    print(f"{folder.name}, {resolved.model.dtype} {options.quant}", describe_machine(), sep=", ")
    bench = Bench(resolved, tokenizer.eos_token_ids, options.tokens)
    bench.answer(edit_prompts(folder)[0], "n-gram")  # warm-up: step times are learned
    rows = []
    for number, prompt in enumerate(edit_prompts(folder)[: options.edits]):
        rows.append([f"edit {number + 1}", *_compare(bench, prompt, options.rounds)])
        print(*rows[-1], sep="\t", file=sys.stderr, flush=True)  # the whole run takes long
    bench.close()
    print(markdown_table(_HEADER, rows))


_HEADER = ("", "tokens", "plain tok/s", "n-gram", "per step", "prediction", "per step", "same answers")


def _compare(bench: Bench, prompt: EditPrompt, rounds: int) -> list[str]:
    answers = {way: [] for way in _WAYS}  # type: dict[str, list[Answer]]
    for _ in range(rounds):
        for way in _WAYS:
            answers[way].append(bench.answer(prompt, way))
    speeds = {way: statistics.median(answer.tokens_per_s for answer in answers[way]) for way in _WAYS}
    first = {way: answers[way][0] for way in _WAYS}
    cells = [str(len(first["plain"].token_ids)), f"{speeds['plain']:.1f}"]
    for way in _WAYS[1:]:
        cells += [f"{speeds[way]:.1f} ({speeds[way] / speeds['plain']:.2f}x)", f"{first[way].tokens_per_step:.2f}"]
    same = len({answer.token_ids for of_way in answers.values() for answer in of_way}) == 1
    return [*cells, "yes" if same else "no"]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--quant", choices=("none", "int8", "int4"), default="none")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=320)
    parser.add_argument("--edits", type=int, default=4)
    return parser.parse_args()


if __name__ == "__main__":
    main()
