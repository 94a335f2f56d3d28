"""Products with packed integers against the numbers that these integers stand for."""

import ctypes

import pytest
import torch

from llama4coder.native.kernels import NativeKernels
from llama4coder.native.quantised import Int4Linear, Int8Linear
from llama4coder.quant.formats import Int4Weights, Int8Weights
from tests.native.steps import random

FORMATS = {"int8": (Int8Linear, Int8Weights), "int4": (Int4Linear, Int4Weights)}
SIZES = {
    "int8": [(64, 32), (100, 7), (33, 18), (576, 1536)],
    "int4": [(64, 32), (100, 96), (16, 576), (576, 1536)],
}


@pytest.mark.parametrize("num_rows", [1, 2, 3, 5, 11, 12, 13, 32])
@pytest.mark.parametrize(("quant", "size"), [(quant, size) for quant, sizes in SIZES.items() for size in sizes])
def test_products(library: ctypes.CDLL, num_rows: int, quant: str, size: tuple[int, int]) -> None:
    (out_features, in_features), (kind, meaning) = size, FORMATS[quant]
    weight = random(out_features, in_features)
    bias, x = random(out_features, seed=1), random(num_rows, in_features, seed=2)
    residual = random(num_rows, out_features, seed=3)
    exact = x.float() @ meaning.of(weight).dequantise().T
    scale = exact.abs().max().item()
    torch.testing.assert_close(kind.quantise(library, weight, None).wide(x), exact, atol=1e-5 * scale, rtol=1e-4)
    both = kind.quantise(library, weight, bias)(x, residual).float()
    torch.testing.assert_close(both, exact + bias.float() + residual.float(), atol=0.004 * scale, rtol=0.005)


def test_a_row_does_not_depend_on_its_company(library: ctypes.CDLL) -> None:
    weight, x = random(100, 96), random(32, 96, seed=1)
    for quant in ("int8", "int4"):
        linear = NativeKernels(library, quant).linear(weight)
        together = linear(x)
        assert all(torch.equal(linear(x[row : row + 1])[0], together[row]) for row in range(32))


def test_rows_are_what_the_integers_stand_for(library: ctypes.CDLL) -> None:
    """All the same integers, steps and scales as the definition has, in rows of all and of equal weights, too."""
    weight = torch.cat((random(700, 64), torch.zeros(1, 64).bfloat16(), torch.full((2, 64), -3.0).bfloat16()))
    indices = torch.cat((torch.tensor([69, 0, 32, 31, 0]), torch.arange(703)))
    for linear, weights in (
        (NativeKernels(library, "int8").linear(weight), Int8Weights.of(weight)),
        (NativeKernels(library, "int4").linear(weight), Int4Weights.of(weight)),
        (NativeKernels(library, "int4").head(weight), Int8Weights.of(weight)),
    ):
        assert torch.equal(linear.rows(indices), weights.dequantise()[indices].bfloat16())
