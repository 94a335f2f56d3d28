"""Norm, SwiGLU and rotation against torch, and what they round to FP8 against what they do not."""

import pytest
import torch
from torch import Tensor

from llama4coder.attention.batch import HeadLayout
from llama4coder.gpu.fp8 import QuantisedTokens, quantise
from llama4coder.gpu.norm import GpuNorm
from llama4coder.gpu.rope import rotate_and_write
from llama4coder.gpu.swiglu import quantised_swiglu, swiglu
from llama4coder.layers.kernels import TorchKernels
from llama4coder.layers.norm import RMSNorm
from tests.support.steps import Row, assert_like, random_step

WIDTHS = [64, 576, 2056]


def random(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def restored(tokens: QuantisedTokens) -> Tensor:
    return tokens.values.float() * tokens.scales


@pytest.mark.parametrize("width", WIDTHS)
def test_norm(device: torch.device, half: torch.dtype, width: int) -> None:
    x, weight = (random(3, width) * 3).to(device, half), random(width, seed=1).to(device, half)
    expected = RMSNorm(weight.float(), 1e-5)(x.float())
    assert_like(GpuNorm(weight, 1e-5)(x), expected)


def test_norm_of_zeros(device: torch.device, half: torch.dtype) -> None:
    zeros = torch.zeros(2, 64, device=device, dtype=half)
    assert GpuNorm(torch.ones_like(zeros[0]), 1e-5)(zeros).eq(0).all()


@pytest.mark.parametrize("width", WIDTHS)
def test_norm_in_fp8_is_the_norm_rounded(device: torch.device, half: torch.dtype, width: int) -> None:
    x, delta, weight = (
        random(*size, seed=seed).to(device, half) for seed, size in enumerate([(3, width)] * 2 + [(width,)])
    )
    norm = GpuNorm(weight, 1e-5)
    assert torch.equal(restored(norm.quantised(x)), restored(quantise(norm(x))))
    both = norm.quantised_sum(x, delta)
    assert torch.equal(both.sum, x + delta)
    assert torch.equal(restored(both.normed), restored(quantise(norm(x + delta))))


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # numpy's; a GPU says nothing, and is right
@pytest.mark.parametrize("width", WIDTHS)
def test_swiglu(device: torch.device, half: torch.dtype, width: int) -> None:
    gate_up = torch.cat([random(3, width) * 4, random(3, width, seed=1)], dim=1)
    gate_up[0, 0], gate_up[1, 0] = 200.0, -200.0  # past where exp would overflow
    gate_up = gate_up.to(device, half)
    assert_like(swiglu(gate_up), TorchKernels().swiglu(gate_up.float()))
    assert torch.equal(restored(quantised_swiglu(gate_up)), restored(quantise(swiglu(gate_up))))


def test_no_tokens(device: torch.device, half: torch.dtype) -> None:
    none = torch.empty(0, 64, device=device, dtype=half)
    assert GpuNorm(none.new_ones(64), 1e-5)(none).shape == (0, 64)
    assert swiglu(none).shape == (0, 32)
    assert quantised_swiglu(none).values.shape == (0, 32)


@pytest.mark.parametrize("heads", [HeadLayout(3, 1, 64), HeadLayout(2, 2, 96)], ids=str)
def test_rotation_and_write(device: torch.device, half: torch.dtype, heads: HeadLayout) -> None:
    step = random_step([Row(5, 14), Row(1, 3)], heads, half, device)
    exact = step.exact()
    before = step.kv.keys.clone()
    slots = step.layout.slots.clone()
    slots[2] = -1  # a padding token
    queries = rotate_and_write(step.qkv, step.rotation, slots, step.kv, heads)
    parts = exact.qkv.unflatten(1, (-1, heads.head_dim)).split([heads.num_heads, *[heads.num_kv_heads] * 2], dim=1)
    assert_like(queries, exact.rotation(parts[0]))
    kept = slots.cpu() >= 0
    exact.kv.write(slots.cpu()[kept], exact.rotation(parts[1])[kept], parts[2][kept])
    assert_like(step.kv.keys, exact.kv.keys)
    assert torch.equal(step.kv.values.float().cpu(), exact.kv.values)
    assert not torch.equal(step.kv.keys, before)
