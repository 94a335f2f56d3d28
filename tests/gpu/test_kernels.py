"""A whole model on GPU kernels: as close to float32 as torch's are, through paged KV in chunks."""

from pathlib import Path

import pytest
import torch

from llama4coder.attention.batch import HeadLayout
from llama4coder.attention.torch_backend import TorchAttention
from llama4coder.gpu.attention import PagedAttention
from llama4coder.gpu.fp8 import Fp8Linear
from llama4coder.gpu.kernels import GpuKernels, GpuQuant
from llama4coder.gpu.layer import Fp8Layer
from llama4coder.gpu.linear import GpuLinear
from llama4coder.gpu.nf4 import Nf4Linear
from llama4coder.kv.formats.allocate import allocate_kv
from llama4coder.kv.formats.tail import TailSize
from llama4coder.layers.kernels import Kernels, TorchKernels
from llama4coder.models.llama import Llama
from llama4coder.models.loader import load_llama
from llama4coder.models.weights import Placement
from llama4coder.parallel.plan import RankPlan
from llama4coder.parallel.share import RankShare
from llama4coder.progress import NullProgress
from llama4coder.shape import read_shape
from tests.support.models import write_tiny_llama
from tests.support.steps import Row, layout_of

NUM_TOKENS = 32
TABLE = torch.arange(NUM_TOKENS // 16).flip(0)[None].numpy()


def load(folder: Path, kernels: Kernels, placement: Placement) -> Llama:
    return load_llama(folder, RankShare.whole(read_shape(folder)), NUM_TOKENS, kernels, placement, NullProgress())


def logits(folder: Path, kernels: Kernels, placement: Placement) -> torch.Tensor:
    """Of a random prompt, as a chunk, a verification of five tokens and a decode step."""
    shape = read_shape(folder)
    with torch.inference_mode():
        model = load(folder, kernels, placement)
        kv = allocate_kv(RankPlan.alone(shape), len(TABLE[0]), placement, "dense", TailSize(0, 0))
        token_ids = torch.randint(0, shape.vocab_size, (NUM_TOKENS,), generator=torch.Generator().manual_seed(1))
        outs, start = [], 0
        for num_tokens in (26, 5, 1):
            positions = torch.arange(start, start + num_tokens)
            attention = model.attention.prepare(layout_of([Row(num_tokens, start)], TABLE, placement.device))
            ids = token_ids[positions].to(placement.device)
            hidden = model.forward(ids, positions.to(placement.device), kv, attention)
            outs.append(model.logits(hidden).cpu())
            start += num_tokens
        return torch.cat(outs)


MODELS = {
    "gqa": {},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "tied": {"tie_word_embeddings": True},
}


@pytest.mark.parametrize("case", MODELS)
def test_logits_in_float32(device: torch.device, tmp_path: Path, case: str) -> None:
    write_tiny_llama(tmp_path, **MODELS[case])
    exact = logits(tmp_path, TorchKernels(), Placement(torch.float32, torch.device("cpu")))
    actual = logits(tmp_path, GpuKernels(), Placement(torch.float32, device))
    torch.testing.assert_close(actual, exact, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize(
    ("quant", "limit"), [(GpuQuant.NONE, 0.01), (GpuQuant.FP8, 0.12), (GpuQuant.NF4, 0.35)], ids=str
)
def test_logits_of_each_format(
    device: torch.device, half: torch.dtype, tmp_path: Path, quant: GpuQuant, limit: float
) -> None:
    """The relative error of random weights, which round as badly as weights can."""
    write_tiny_llama(tmp_path, initializer_range=0.05, attention_bias=True)
    exact = logits(tmp_path, TorchKernels(), Placement(torch.float32, torch.device("cpu")))
    actual = logits(tmp_path, GpuKernels(quant), Placement(half, device))
    error = (actual - exact).square().mean().sqrt() / exact.square().mean().sqrt()
    assert error < limit


def test_what_each_format_is_made_of(device: torch.device, half: torch.dtype, tmp_path: Path) -> None:
    write_tiny_llama(tmp_path)
    placement = Placement(half, device)
    dense, fp8, nf4 = (load(tmp_path, GpuKernels(quant), placement) for quant in GpuQuant)
    assert isinstance(dense.head, GpuLinear)
    assert isinstance(fp8.head, Fp8Linear)
    assert isinstance(nf4.head, GpuLinear)
    assert isinstance(nf4.layers[0].down, Nf4Linear)
    assert all(isinstance(layer, Fp8Layer) for layer in fp8.layers)
    assert not any(isinstance(layer, Fp8Layer) for layer in (*dense.layers, *nf4.layers)), "nothing to fuse"


def test_sizes_that_a_format_does_not_cover_stay_dense(device: torch.device, half: torch.dtype) -> None:
    odd = torch.zeros(24, 72, device=device, dtype=half)
    for quant in GpuQuant:
        assert isinstance(GpuKernels(quant).linear(odd), GpuLinear)
    assert isinstance(GpuKernels().attention(HeadLayout(2, 1, 512)), TorchAttention)
    assert isinstance(GpuKernels().attention(HeadLayout(2, 1, 128)), PagedAttention)
