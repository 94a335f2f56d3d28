"""What the integers mean: the nearest ones, and the same numbers whichever way they are read."""

import pytest
import torch

from llama4coder.quant.formats import Int4Weights, Int8Weights
from llama4coder.quant.kernels import QuantisedTorchKernels


def random(*size: int) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(0)).bfloat16()


def test_int8_is_within_half_a_scale() -> None:
    weight = random(10, 70)
    weights = Int8Weights.of(weight)
    error = (weights.dequantise() - weight.float()).abs()
    assert (error <= weights.scales[:, None] * 0.5001).all()
    assert weights.values.abs().amax(dim=1).eq(127).all()


def test_int4_is_within_half_a_step() -> None:
    """And a little: step and low are bfloat16 themselves."""
    weight = random(10, 96)
    weights = Int4Weights.of(weight)
    error = (weights.dequantise() - weight.float()).abs().reshape(10, 3, 32)
    assert (error <= weights.steps.float()[..., None] * 0.6).all()
    assert weights.values().unique().tolist() == list(range(16))


@pytest.mark.parametrize("kind", [Int8Weights, Int4Weights])
def test_what_the_integers_can_say_is_kept(kind: type[Int8Weights] | type[Int4Weights]) -> None:
    once = kind.of(random(6, 64)).dequantise()
    torch.testing.assert_close(kind.of(once).dequantise(), once, rtol=1e-2, atol=1e-2)
    for constant in (0.0, 1.5):
        weight = torch.full((2, 32), constant)
        torch.testing.assert_close(kind.of(weight).dequantise(), weight)


@pytest.mark.parametrize("kind", [Int8Weights, Int4Weights])
def test_rows(kind: type[Int8Weights] | type[Int4Weights]) -> None:
    weights, indices = kind.of(random(9, 64)), torch.tensor([8, 0, 3, 3])
    assert torch.equal(weights.rows(indices).dequantise(), weights.dequantise()[indices])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_without_native_kernels(dtype: torch.dtype) -> None:
    weight, bias, x = random(20, 64).to(dtype), random(20).to(dtype), random(3, 64).to(dtype)
    residual = random(3, 20).to(dtype)
    linear = QuantisedTorchKernels("int4").linear(weight, bias)
    exact = x.float() @ Int4Weights.of(weight).dequantise().T + bias.float()
    torch.testing.assert_close(linear.wide(x), exact)
    torch.testing.assert_close(linear(x), exact.to(dtype))
    torch.testing.assert_close(linear(x, residual), (exact + residual.float()).to(dtype))


def test_the_head_has_8_bits_and_embeds_in_the_dtype_of_the_model() -> None:
    weight, indices = random(20, 64), torch.tensor([3, 19])
    head = QuantisedTorchKernels("int4").head(weight)
    assert torch.equal(head.rows(indices), Int8Weights.of(weight).dequantise()[indices].bfloat16())
    assert torch.equal(QuantisedTorchKernels("int8").linear(weight).rows(indices), head.rows(indices))
