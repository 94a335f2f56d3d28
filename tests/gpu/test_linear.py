"""Every kind of linear layer against its definition in float32: residual, bias, logits, embedding rows."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from llama4coder.gpu.fp8 import Fp8Linear
from llama4coder.gpu.linear import GpuLinear
from llama4coder.gpu.nf4 import Nf4Linear
from llama4coder.layers.linear import Linear
from llama4coder.quant.formats import NF4_LEVELS
from tests.support.steps import assert_like

Make = Callable[[Tensor, Tensor | None], Linear]


def random(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def nf4_rounded(weight: Tensor) -> Tensor:
    """The nearest of all 16 levels, searched one by one, times the largest of each 64 weights."""
    groups = weight.float().reshape(-1, 64)
    scale = groups.abs().max(dim=1, keepdim=True).values.clamp(min=1e-30)
    distances = (groups[..., None] / scale[..., None] - torch.tensor(NF4_LEVELS)).abs()
    return (torch.tensor(NF4_LEVELS)[distances.argmin(-1)] * scale).reshape(weight.shape)


def fp8_rounded(x: Tensor) -> Tensor:
    """Three bits of mantissa below the leading one, the largest of each row at 448, no step finer than 2 ** -9."""
    scale = x.float().abs().amax(dim=1, keepdim=True).clamp(min=1e-30) / 448
    scaled = x.float() / scale
    step = torch.exp2(scaled.abs().clamp(min=2.0**-6).log2().floor() - 3)
    return (scaled / step).round() * step * scale


def exact(weight: Tensor) -> Tensor:
    return weight.float()


KINDS: dict[str, tuple[Make, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "dense": (GpuLinear, exact, exact),
    "fp8": (Fp8Linear.of, fp8_rounded, fp8_rounded),
    "nf4": (Nf4Linear.of, nf4_rounded, exact),
}
HEADS = ("dense", "fp8")


@pytest.mark.parametrize("num_tokens", [1, 7, 16, 17])
@pytest.mark.parametrize("kind", KINDS)
def test_products(device: torch.device, half: torch.dtype, kind: str, num_tokens: int) -> None:
    make, round_weight, round_tokens = KINDS[kind]
    weight, bias = (random(*size).to(half) for size in ((80, 448), (80,)))
    x, residual = (random(num_tokens, width, seed=width).to(half) for width in (448, 80))
    expected = round_tokens(x) @ round_weight(weight).T
    plain, biased = (make(weight.to(device), b) for b in (None, bias.to(device)))
    x, residual = x.to(device), residual.to(device)
    assert_like(plain(x), expected)
    assert_like(plain(x, residual.clone()), expected + residual.cpu().float())
    assert_like(biased(x), expected + bias.float())
    assert_like(biased(x, residual.clone()), expected + bias.float() + residual.cpu().float())


@pytest.mark.parametrize("kind", HEADS)
def test_logits_and_rows_of_a_tied_embedding(device: torch.device, half: torch.dtype, kind: str) -> None:
    make, round_weight, round_tokens = KINDS[kind]
    weight, x = random(96, 192).to(half), random(5, 192, seed=1).to(half)
    head = make(weight.to(device), None)
    logits = head.wide(x.to(device))
    assert logits.dtype == torch.float32
    assert_like(logits, round_tokens(x) @ round_weight(weight).T)
    indices = torch.tensor([5, 0, 95, 5])
    rows = head.rows(indices.to(device))
    assert rows.dtype == half
    assert_like(rows, round_weight(weight)[indices])


@pytest.mark.parametrize("kind", KINDS)
def test_no_tokens(device: torch.device, half: torch.dtype, kind: str) -> None:
    linear = KINDS[kind][0](random(32, 64).to(device, half), None)
    assert linear(torch.empty(0, 64, device=device, dtype=half)).shape == (0, 32)


@pytest.mark.parametrize("kind", ["fp8", "nf4"])
def test_zeros_stay_zeros(device: torch.device, half: torch.dtype, kind: str) -> None:
    weight = random(32, 128)
    weight[3] = 0
    x = random(2, 128)
    x[1] = 0
    out = KINDS[kind][0](weight.to(device, half), None)(x.to(device, half))
    assert out[:, 3].eq(0).all() and out[1].eq(0).all() and out.isfinite().all()


@pytest.mark.parametrize("num_groups", [43, 46])
def test_nf4_splits_the_columns_and_adds_the_parts(device: torch.device, half: torch.dtype, num_groups: int) -> None:
    """Few rows and many columns, the last split shorter than the others; an odd and an even number of groups."""
    weight, x = random(16, 64 * num_groups).to(half), random(3, 64 * num_groups, seed=1).to(half)
    expected = x.float() @ nf4_rounded(weight).T
    linear = Nf4Linear.of(weight.to(device), None)
    assert_like(linear(x.to(device)), expected)
    assert torch.equal(linear(x.to(device)), linear(x.to(device)))
