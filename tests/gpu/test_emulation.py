"""CPUs that emulate FP8 and NF4 compute what GPUs compute."""

import pytest
import torch
from torch import Tensor

from llama4coder.config import QuantFormat
from llama4coder.gpu.kernels import GpuKernels, GpuQuant
from llama4coder.quant.kernels import QuantisedTorchKernels
from tests.support.steps import assert_like


def random(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("num_tokens", [1, 17])
@pytest.mark.parametrize(("quant", "gpu_quant"), [("fp8", GpuQuant.FP8), ("nf4", GpuQuant.NF4)])
def test_products(
    device: torch.device, half: torch.dtype, quant: QuantFormat, gpu_quant: GpuQuant, num_tokens: int
) -> None:
    weight, bias = random(80, 256).to(half), random(80, seed=1).to(half)
    x, residual = random(num_tokens, 256, seed=2).to(half), random(num_tokens, 80, seed=3).to(half)
    emulated = QuantisedTorchKernels(quant).linear(weight, bias)
    real = GpuKernels(gpu_quant).linear(weight.to(device), bias.to(device))
    assert_like(real(x.to(device), residual.to(device).clone()), emulated(x, residual))


def test_heads(device: torch.device, half: torch.dtype) -> None:
    weight, x = random(96, 192).to(half), random(5, 192, seed=1).to(half)
    emulated, real = QuantisedTorchKernels("fp8").head(weight), GpuKernels(GpuQuant.FP8).head(weight.to(device))
    assert_like(real.wide(x.to(device)), emulated.wide(x))
    indices = torch.tensor([3, 90])
    assert torch.equal(real.rows(indices.to(device)).cpu(), emulated.rows(indices))
