"""Each native kernel against torch in float32, which rounds nothing: bfloat16 is good to about one part in 250."""

import ctypes

import pytest
import torch

from llama4coder.attention.batch import HeadLayout
from llama4coder.attention.torch_backend import TorchAttention
from llama4coder.layers.kernels import TorchKernels
from llama4coder.layers.linear import DenseLinear
from llama4coder.layers.rope import Rotation
from llama4coder.native.attention import NativeAttention, supports
from llama4coder.native.kernels import NativeKernels
from llama4coder.native.linear import PackedLinear
from tests.native.steps import STEPS, bfloat16_step, random
from tests.support.steps import Row, assert_like, layout_of


@pytest.mark.parametrize("num_rows", [1, 2, 5, 11, 12, 13, 24, 32, 100])
@pytest.mark.parametrize(("out_features", "in_features"), [(64, 32), (100, 48), (33, 2), (16, 576), (576, 1536)])
def test_linear(library: ctypes.CDLL, num_rows: int, out_features: int, in_features: int) -> None:
    weight, bias = random(out_features, in_features), random(out_features, seed=1)
    x, residual = random(num_rows, in_features, seed=2), random(num_rows, out_features, seed=3)
    native = PackedLinear.pack(library, weight, bias)
    exact = DenseLinear(weight.float(), bias.float())
    assert_like(native(x), exact(x.float()))
    assert_like(native(x, residual), exact(x.float(), residual.float()))
    plain = PackedLinear.pack(library, weight, None)
    torch.testing.assert_close(plain.wide(x), x.float() @ weight.float().T, atol=1e-3, rtol=1e-4)
    assert torch.equal(plain.rows(torch.arange(out_features)), weight)


def test_linear_takes_rows_that_are_not_contiguous(library: ctypes.CDLL) -> None:
    weight, x = random(64, 32), random(4, 64, seed=1)[:, ::2]
    assert_like(PackedLinear.pack(library, weight, None)(x), x.float() @ weight.float().T)


@pytest.mark.parametrize("num_rows", [1, 7, 30])
def test_norm(library: ctypes.CDLL, num_rows: int) -> None:
    weight, x = random(576), random(num_rows, 576, seed=1) * 3
    native, reference = NativeKernels(library).norm(weight, 1e-5), TorchKernels().norm(weight, 1e-5)
    torch.testing.assert_close(native(x), reference(x), atol=0, rtol=0.008)


@pytest.mark.parametrize("width", [16, 48, 24])
def test_swiglu(library: ctypes.CDLL, width: int) -> None:
    gate_up = torch.cat([random(5, width) * 4, random(5, width, seed=1)], dim=1)
    gate_up[0, 0], gate_up[1, 0] = 200.0, -200.0  # past where exp would overflow
    assert_like(NativeKernels(library).swiglu(gate_up), TorchKernels().swiglu(gate_up.float()))


HEADS = [HeadLayout(4, 2, 64), HeadLayout(9, 3, 64), HeadLayout(8, 1, 32), HeadLayout(4, 4, 128), HeadLayout(2, 1, 256)]


@pytest.mark.parametrize("rows", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("heads", HEADS, ids=str)
def test_attention(library: ctypes.CDLL, heads: HeadLayout, rows: list[Row]) -> None:
    """Both backends write the same cache and attend to the same tokens, in blocks scattered over the pool."""
    step = bfloat16_step(rows, heads)
    exact = step.exact()
    actual = NativeAttention(library, heads).prepare(step.layout)(step.qkv, step.rotation, step.kv)
    expected = TorchAttention(heads).prepare(exact.layout)(exact.qkv, exact.rotation, exact.kv)
    assert_like(step.kv.keys, exact.kv.keys)
    assert torch.equal(step.kv.values.float(), exact.kv.values)
    assert_like(actual, expected)


@pytest.mark.parametrize("row", [Row(6, 0), Row(9, 60), Row(70, 50)], ids=str)
def test_tokens_get_the_same_bits_together_and_one_by_one(library: ctypes.CDLL, row: Row) -> None:
    """So that verifying drafts is decoding, ties included."""
    heads = HeadLayout(9, 3, 64)
    step = bfloat16_step([row], heads)
    attention = NativeAttention(library, heads)
    together = attention.prepare(step.layout)(step.qkv, step.rotation, step.kv)
    for token in range(row.num_tokens):
        layout = layout_of([Row(1, row.start + token)], step.layout.table, torch.device("cpu"))
        here = slice(token, token + 1)
        rotation = Rotation(step.rotation.cos[here], step.rotation.sin[here])
        assert torch.equal(attention.prepare(layout)(step.qkv[here], rotation, step.kv), together[here])


def test_layouts_that_the_kernels_do_not_cover_fall_back_to_torch(library: ctypes.CDLL) -> None:
    kernels = NativeKernels(library)
    for heads in (HeadLayout(4, 2, 48), HeadLayout(32, 1, 64), HeadLayout(2, 1, 512)):
        assert not supports(heads)
        assert isinstance(kernels.attention(heads), TorchAttention)
    assert isinstance(kernels.linear(random(8, 7)), DenseLinear)
