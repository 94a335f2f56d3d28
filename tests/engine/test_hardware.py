"""Which kernels, draws and passes a device gets; what runs on a GPU is only chosen here, not run."""

import importlib.util
import logging

import pytest
import torch

from llama4coder.attention.batch import HeadLayout
from llama4coder.attention.torch_backend import TorchAttention
from llama4coder.engine import hardware
from llama4coder.errors import ConfigError
from llama4coder.gpu.attention import PagedAttention
from llama4coder.gpu.draw import TritonDraw
from llama4coder.gpu.kernels import GpuKernels
from llama4coder.layers.kernels import TorchKernels
from llama4coder.models.weights import Placement
from llama4coder.parallel.comm import Alone
from llama4coder.parallel.vocabulary import ShardedVocabulary
from llama4coder.sampling.draw import TorchDraw

CUDA = Placement(torch.bfloat16, torch.device("cuda"))
VOCABULARY = ShardedVocabulary((slice(0, 512),), Alone())


@pytest.fixture
def no_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@pytest.mark.parametrize("quant", ["none", "fp8", "nf4"])
def test_a_gpu_computes_with_triton(quant: hardware.QuantFormat) -> None:
    kernels = hardware.choose_kernels(CUDA, quant, 1)
    assert isinstance(kernels, GpuKernels)
    assert isinstance(hardware.choose_sampler(CUDA, 1, VOCABULARY).draw, TritonDraw)


def test_a_gpu_computes_attention_over_bounded_blocks_with_torch() -> None:
    heads = HeadLayout(8, 2, 64)
    plain, bounded = (hardware.choose_kernels(CUDA, "none", 1, "dense", bounds) for bounds in (False, True))
    assert isinstance(plain.attention(heads), PagedAttention)
    assert isinstance(bounded.attention(heads), TorchAttention)


def test_a_gpu_without_triton_computes_with_torch_and_says_so(
    no_triton: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert type(hardware.choose_kernels(CUDA, "none", 1)) is TorchKernels
    assert "triton is not installed" in caplog.text
    assert type(hardware.choose_sampler(CUDA, 1, VOCABULARY).draw) is TorchDraw


def test_formats_that_need_triton_are_refused_without_it(no_triton: None) -> None:
    with pytest.raises(ConfigError, match=r"fp8 needs the package triton"):
        hardware.choose_kernels(CUDA, "fp8", 1)


def test_float32_on_a_cpu_computes_with_torch() -> None:
    assert type(hardware.choose_kernels(Placement(torch.float32, torch.device("cpu")), "none", 1)) is TorchKernels
