"""The sampler against exact distributions and a plain reference."""

import pytest
import torch

from llama4coder.parallel.comm import Alone
from llama4coder.parallel.vocabulary import ShardedVocabulary
from llama4coder.sampling.adjust import TokenCounts
from llama4coder.sampling.draw import TorchDraw
from llama4coder.sampling.filters import TorchFilter
from llama4coder.sampling.sampler import Sampler, SamplingRow
from llama4coder.types import SamplingParams

NUM_DRAWS = 20_000


def sample(logits: torch.Tensor, rows: list[SamplingRow]) -> list[int]:
    vocabulary = ShardedVocabulary((slice(0, logits.shape[-1]),), Alone())
    return Sampler(TorchFilter(), TorchDraw(), vocabulary)(logits, rows).tolist()


def counts_of(logits: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    rows = [SamplingRow(params, seed=3, position=position) for position in range(NUM_DRAWS)]
    drawn = sample(logits.expand(NUM_DRAWS, -1), rows)
    return torch.bincount(torch.tensor(drawn), minlength=logits.shape[-1]).double()


def chi_square(counts: torch.Tensor, probabilities: torch.Tensor) -> float:
    expected = probabilities.double() * NUM_DRAWS
    assert (counts[expected == 0] == 0).all(), "an impossible token was drawn"
    possible = expected > 0
    return float(((counts - expected)[possible] ** 2 / expected[possible]).sum())


LOGITS = torch.tensor([2.0, 1.5, 1.0, 0.0, -0.5, 2.2, 0.3, -1.0, 1.1, 0.7])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_distribution(temperature: float) -> None:
    probabilities = (LOGITS / temperature).softmax(-1)
    # 9 degrees of freedom: 27.9 is exceeded once in a thousand; the seed is fixed, so this never flickers.
    assert chi_square(counts_of(LOGITS, SamplingParams(temperature=temperature)), probabilities) < 27.9


def test_filtered_draws_follow_the_renormalised_distribution() -> None:
    probabilities = LOGITS.softmax(-1)
    probabilities[[3, 4, 6, 7, 9]] = 0  # five are kept
    params = SamplingParams(top_k=5)
    assert chi_square(counts_of(LOGITS, params), probabilities / probabilities.sum()) < 18.5  # 4 degrees of freedom


def test_greedy_rows_ignore_filters_and_seeds() -> None:
    rows = [SamplingRow(SamplingParams(temperature=0.0, top_k=3), seed, 0) for seed in range(4)]
    assert sample(LOGITS.expand(4, -1), rows) == [5] * 4
    tiny = SamplingRow(SamplingParams(temperature=1e-30), 0, 0)
    assert sample(LOGITS[None], [tiny]) == [5]


def test_rows_do_not_touch_each_other_or_the_logits() -> None:
    before = LOGITS.expand(3, -1).clone()
    counts = TokenCounts([5], [5], 10, torch.device("cpu"))
    penalised = SamplingRow(SamplingParams(temperature=0.0, frequency_penalty=2.0), 0, 0, counts)
    biased = SamplingRow(SamplingParams(temperature=0.0, logit_bias={7: 50.0}), 0, 0)
    plain = SamplingRow(SamplingParams(temperature=0.0), 0, 0)
    forbidden = SamplingRow(SamplingParams(temperature=0.0), 0, 0, None, (5, 0))
    logits = LOGITS.expand(4, -1).clone()
    assert sample(logits, [penalised, biased, plain, forbidden]) == [0, 7, 5, 1]
    assert torch.equal(logits[:3], before)


def test_penalties_count_what_they_say() -> None:
    counts = TokenCounts(prompt=[0, 1], output=[1, 2, 2], vocab_size=4, device=torch.device("cpu"))
    row = torch.tensor([1.0, -1.0, 1.0, 1.0])
    counts.penalise(
        row, SamplingParams(presence_penalty=0.5, frequency_penalty=0.25, repetition_penalty=2.0), slice(0, 4)
    )
    expected = torch.tensor([0.5, -2.0 - 0.5 - 0.25, 0.5 - 0.5 - 0.5, 1.0])
    torch.testing.assert_close(row, expected)


def test_a_row_draws_the_same_alone_and_in_a_batch() -> None:
    logits = torch.randn(8, 500, generator=torch.Generator().manual_seed(1))
    rows = [SamplingRow(SamplingParams(top_p=0.5 + index / 20), index, index) for index in range(8)]
    together = sample(logits, rows)
    assert together == [sample(logits[index : index + 1], [row])[0] for index, row in enumerate(rows)]
