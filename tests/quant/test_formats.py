"""What the integers mean: the nearest ones, and the same numbers whichever way they are read."""

import pytest
import torch

from llama4coder.layers.linear import DenseLinear
from llama4coder.quant.formats import NF4_LEVELS, Fp8Weights, Int4Weights, Int8Weights, Nf4Weights, QuantisedWeights
from llama4coder.quant.kernels import DequantisingLinear, QuantisedTorchKernels
from llama4coder.shape import MatrixShape

KINDS = (Int8Weights, Int4Weights, Fp8Weights, Nf4Weights)


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


def test_fp8_is_within_half_of_what_its_last_bit_says() -> None:
    weight = random(10, 70)
    weights = Fp8Weights.of(weight)
    scaled = weight.float() / weights.scales[:, None]
    step = torch.exp2(scaled.abs().clamp(min=2.0**-6).log2().floor() - 3)
    assert ((weights.values.float() - scaled).abs() <= step * 0.5001).all()
    assert weights.values.float().abs().amax(dim=1).eq(448).all()


def test_nf4_takes_the_nearest_level() -> None:
    weight = random(10, 128)
    weights = Nf4Weights.of(weight)
    scales = weight.float().view(10, 2, 64).abs().amax(dim=2, keepdim=True)
    reachable = scales[..., None] * torch.tensor(NF4_LEVELS)
    nearest = (weight.float().view(10, 2, 64, 1) - reachable).abs().amin(dim=3)
    found = (weights.dequantise() - weight.float()).abs().view(10, 2, 64)
    torch.testing.assert_close(found, nearest)


def test_zeros_stay_zeros() -> None:
    for kind in KINDS:
        assert kind.of(torch.zeros(3, 64)).dequantise().eq(0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_sizes(kind: type[QuantisedWeights]) -> None:
    weights = kind.of(random(9, 64))
    assert weights.size == MatrixShape(9, 64)
    assert torch.equal(weights.rows(slice(2, 5)).dequantise(), weights.dequantise()[2:5])


@pytest.mark.parametrize("kind", [Int8Weights, Int4Weights])
def test_what_the_integers_can_say_is_kept(kind: type[Int8Weights] | type[Int4Weights]) -> None:
    once = kind.of(random(6, 64)).dequantise()
    torch.testing.assert_close(kind.of(once).dequantise(), once, rtol=1e-2, atol=1e-2)
    for constant in (0.0, 1.5):
        weight = torch.full((2, 32), constant)
        torch.testing.assert_close(kind.of(weight).dequantise(), weight)


@pytest.mark.parametrize("kind", KINDS)
def test_rows(kind: type[QuantisedWeights]) -> None:
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


def test_fp8_rounds_tokens_as_well() -> None:
    weight, x = random(32, 64), random(5, 64)
    linear = QuantisedTorchKernels("fp8").linear(weight)
    exact = Fp8Weights.of(x).dequantise() @ Fp8Weights.of(weight).dequantise().T
    torch.testing.assert_close(linear.wide(x), exact)
    assert not torch.allclose(exact, x.float() @ Fp8Weights.of(weight).dequantise().T, rtol=1e-3)


def test_weights_are_widened_a_few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    linear = QuantisedTorchKernels("nf4").linear(random(50, 64), random(50))
    x = random(3, 64)
    whole = linear.wide(x)
    monkeypatch.setattr("llama4coder.quant.kernels.WIDENED_WEIGHTS", 64 * 7)
    torch.testing.assert_close(linear.wide(x), whole)


def test_sizes_that_a_format_does_not_cover_stay_as_they_are() -> None:
    for quant, width in (("fp8", 40), ("nf4", 96)):
        assert isinstance(QuantisedTorchKernels(quant).linear(random(32, width)), DenseLinear)
    assert isinstance(QuantisedTorchKernels("fp8").head(random(33, 64)), DenseLinear)
    assert isinstance(QuantisedTorchKernels("nf4").head(random(32, 64)), DenseLinear)
    assert isinstance(QuantisedTorchKernels("fp8").head(random(32, 64)), DequantisingLinear)
