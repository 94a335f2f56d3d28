"""Tokens drawn in C must be those that torch draws from the same noise."""

import ctypes
import random

import pytest
import torch

from llama4coder.native.draw import NativeDraw
from llama4coder.sampling.draw import DrawRow, TorchDraw
from llama4coder.sampling.noise import NoiseKey


def some_rows(number: int, temperatures: list[float]) -> list[DrawRow]:
    generator = random.Random(number)
    return [
        DrawRow(NoiseKey(generator.randrange(2**64), generator.randrange(2**33)), generator.choice(temperatures))
        for _ in range(number)
    ]


@pytest.mark.parametrize("vocab_size", [1, 15, 16, 63, 64, 65, 1000, 49152])
@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0])
def test_the_tokens_are_those_of_the_reference(library: ctypes.CDLL, vocab_size: int, scale: float) -> None:
    logits = torch.randn(24, vocab_size, generator=torch.Generator().manual_seed(vocab_size)) * scale
    rows = some_rows(24, [0.0, 0.2, 1.0, 1.7])
    before = logits.clone()
    drawn = NativeDraw(library)(logits, rows, None)
    assert drawn.token_ids.tolist() == TorchDraw()(logits, rows, None).token_ids.tolist()
    assert torch.equal(logits, before)


def test_tokens_below_the_lowest_are_out(library: ctypes.CDLL) -> None:
    logits = torch.randn(50, 300, generator=torch.Generator().manual_seed(0))
    lowest = logits.topk(4, dim=-1).values[:, -1].contiguous()
    lowest[::7] = -torch.inf
    rows = some_rows(50, [1.0, 5.0])
    drawn = NativeDraw(library)(logits, rows, lowest)
    assert drawn.token_ids.tolist() == TorchDraw()(logits, rows, lowest).token_ids.tolist()
    kept = (logits.gather(1, drawn.token_ids[:, None]).squeeze(1) >= lowest).tolist()
    assert all(kept)


def test_impossible_tokens_never_win(library: ctypes.CDLL) -> None:
    logits = torch.full((8, 200), -torch.inf)
    logits[:, 137] = -50.0
    assert NativeDraw(library)(logits, some_rows(8, [0.0, 1.0]), None).token_ids.tolist() == [137] * 8


def test_the_first_of_equal_logits_is_the_largest(library: ctypes.CDLL) -> None:
    logits = torch.zeros(1, 100)
    logits[0, [31, 70]] = 2.0
    assert NativeDraw(library)(logits, some_rows(1, [0.0]), None).token_ids.tolist() == [31]


def test_draws_follow_the_distribution(library: ctypes.CDLL) -> None:
    logits = torch.tensor([2.0, 1.5, 1.0, 0.0, -0.5, 2.2, 0.3, -1.0, 1.1, 0.7])
    rows = [DrawRow(NoiseKey(3, position), 1.0) for position in range(20_000)]
    drawn = NativeDraw(library)(logits.repeat(len(rows), 1), rows, None)
    counts = torch.bincount(drawn.token_ids, minlength=10).double()
    expected = logits.softmax(-1).double() * len(rows)
    assert ((counts - expected) ** 2 / expected).sum() < 27.9  # exceeded once in a thousand seeds


@pytest.mark.parametrize("cut", [64, 4096, 49088])
def test_the_parts_of_a_vocabulary_have_the_noise_of_the_whole(library: ctypes.CDLL, cut: int) -> None:
    logits = torch.randn(24, 49152, generator=torch.Generator().manual_seed(3))
    rows = some_rows(24, [0.0, 1.0])
    whole = NativeDraw(library)(logits, rows, None)
    low = NativeDraw(library)(logits[:, :cut].contiguous(), rows, None)
    high = NativeDraw(library)(logits[:, cut:].contiguous(), rows, None, cut)
    reference = TorchDraw()(logits, rows, None)
    for row in range(24):
        better = low if low.values[row] >= high.values[row] else high
        assert better.token_ids[row] == whole.token_ids[row]
        assert better.values[row] == whole.values[row] == pytest.approx(reference.values[row].item(), abs=1e-4)
