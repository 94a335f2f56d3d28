"""With guesses, tokens have the model's own distribution: counted, and compared with the exact one."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from llama4coder.engine.engine import Engine
from llama4coder.engine.loading_rank import load_runner
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.obs.stats import NullObserver
from llama4coder.progress import NullProgress
from llama4coder.spec.types import DraftQuery, NoSpeculation, RowOutcome, StepCost
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions
from tests.support.engines import resolved, run_all
from tests.support.models import write_tiny_llama

VOCAB_SIZE = 8
PROMPT = (1, 5, 2)
NUM_REQUESTS = 6000


class Stubborn(NoSpeculation):
    """Implements `Speculation`: always the same guesses, of which some are right."""

    def __init__(self, guesses: tuple[int, ...]) -> None:
        self.num_accepted = 0
        self._guesses = guesses

    def wants(self, request_ids: Sequence[str]) -> bool:
        return True

    def propose(self, queries: Sequence[DraftQuery]) -> Mapping[str, tuple[int, ...]]:
        return {query.request_id: self._guesses[: query.max_tokens] for query in queries}

    def observe(self, outcomes: Sequence[RowOutcome], cost: StepCost) -> None:
        self.num_accepted += sum(outcome.num_accepted for outcome in outcomes)


def chi_square_limit(degrees: int, sigmas: float = 4.0) -> float:
    """Wilson and Hilferty's approximation: exceeded by chance once in some 30,000 times."""
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + sigmas * math.sqrt(spread)) ** 3


def exact(folder: Path, temperature: float) -> dict[tuple[int, int, int], float]:
    """The probabilities of all three-token continuations."""
    model = LlamaForCausalLM.from_pretrained(folder)
    pairs = [(first, second) for first in range(VOCAB_SIZE) for second in range(VOCAB_SIZE)]
    with torch.no_grad():
        logits = model(torch.tensor([[*PROMPT, *pair] for pair in pairs])).logits.double() / temperature
    steps = logits[:, len(PROMPT) - 1 :].softmax(-1)
    return {
        (first, second, third): float(steps[row, 0, first] * steps[row, 1, second] * steps[row, 2, third])
        for row, (first, second) in enumerate(pairs)
        for third in range(VOCAB_SIZE)
    }


@pytest.mark.parametrize("temperature", [0.8, 1.2])
def test_chi_square(tmp_path: Path, temperature: float) -> None:
    write_tiny_llama(tmp_path, vocab_size=VOCAB_SIZE)
    config = resolved(tmp_path, num_blocks=300, max_sequences=64)
    chances = exact(tmp_path, temperature)
    first, second, _ = max(chances, key=chances.__getitem__)
    speculation = Stubborn((first, second))
    executor = LocalExecutor(load_runner(config, NullProgress()).launch)
    engine = Engine(config, executor, NullObserver(), speculation)
    sampling = SamplingParams(temperature=temperature)
    batch = [GenerateRequest(str(seed), PROMPT, sampling, StopConditions(3), seed=seed) for seed in range(NUM_REQUESTS)]
    counts = Counter(tuple(result.token_ids) for result in run_all(engine, batch).values())
    engine.close()
    expected = {tokens: NUM_REQUESTS * chance for tokens, chance in chances.items()}
    assert sum(expected.values()) == pytest.approx(NUM_REQUESTS)
    common = [tokens for tokens, number in expected.items() if number >= 5]
    rare = NUM_REQUESTS - sum(expected[tokens] for tokens in common)
    statistic = sum((counts[tokens] - expected[tokens]) ** 2 / expected[tokens] for tokens in common)
    statistic += (NUM_REQUESTS - sum(counts[tokens] for tokens in common) - rare) ** 2 / max(rare, 1.0)
    assert speculation.num_accepted > NUM_REQUESTS / 20
    assert statistic < chi_square_limit(len(common))
