"""A fused layer computes what its parts compute, to the last bit."""

import ctypes
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from llama4coder.attention.batch import HeadLayout
from llama4coder.attention.torch_backend import TorchAttention
from llama4coder.config import KVFormat, QuantFormat
from llama4coder.layers.kernels import Kernels, TorchKernels
from llama4coder.models.llama import DecoderLayer
from llama4coder.native.attention import NativeAttention
from llama4coder.native.kernels import NativeKernels
from llama4coder.native.layer import FusedLayer
from tests.native.steps import STEPS, bfloat16_step, random
from tests.support.format_contract import FORMATS
from tests.support.format_steps import format_step
from tests.support.steps import Row

HIDDEN, WIDTH = 96, 160
LAYOUTS = [HeadLayout(4, 2, 32), HeadLayout(9, 3, 64)]


def build(kernels: Kernels, heads: HeadLayout, *, bias: bool, width: int = WIDTH) -> DecoderLayer:
    seeds = iter(range(100, 200))

    def weight(*size: int) -> Tensor:
        return random(*size, seed=next(seeds)) * 0.1

    def linear(out_size: int, in_size: int) -> object:
        return kernels.linear(weight(out_size, in_size), weight(out_size) if bias else None)

    query_size = heads.num_heads * heads.head_dim
    return DecoderLayer(
        attention_norm=kernels.norm(weight(HIDDEN), 1e-5),
        qkv=linear(query_size + 2 * heads.num_kv_heads * heads.head_dim, HIDDEN),
        attention_out=linear(HIDDEN, query_size),
        mlp_norm=kernels.norm(weight(HIDDEN), 1e-6),
        gate_up=linear(2 * width, HIDDEN),
        swiglu=kernels.swiglu,
        down=linear(HIDDEN, width),
    )


@pytest.mark.parametrize(("quant", "bias"), [("none", False), ("none", True), ("int8", False), ("int4", True)])
@pytest.mark.parametrize("rows", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("heads", LAYOUTS, ids=str)
def test_the_parts_are_matched_bit_by_bit(
    library: ctypes.CDLL, heads: HeadLayout, rows: list[Row], quant: QuantFormat, bias: bool
) -> None:
    kernels = NativeKernels(library, quant)
    parts = build(kernels, heads, bias=bias)
    fused = kernels.fuse(parts)
    assert isinstance(fused, FusedLayer)
    results = []
    for layer in (parts, fused):
        step = bfloat16_step(rows, heads)
        attention = NativeAttention(library, heads).prepare(step.layout)
        x = random(len(step.qkv), HIDDEN, seed=3)
        for _ in range(2):  # memory is used again
            x = layer(x, step.rotation, step.kv, attention)
        results.append((x, step.kv))
    (expected, expected_kv), (actual, actual_kv) = results
    assert expected.isfinite().all()
    assert torch.equal(actual, expected)
    assert torch.equal(actual_kv.keys, expected_kv.keys)
    assert torch.equal(actual_kv.values, expected_kv.values)


@pytest.mark.parametrize("kv_format", FORMATS)
def test_the_parts_are_matched_in_every_kv_format(library: ctypes.CDLL, kv_format: KVFormat) -> None:
    kernels, heads = NativeKernels(library, kv_format=kv_format), LAYOUTS[0]
    parts = build(kernels, heads, bias=False)
    fused = kernels.fuse(parts)
    results = []
    for layer in (parts, fused):
        step = format_step([Row(1, 200), Row(20, 30), Row(4, 5)], heads, kv_format, torch.bfloat16, torch.device("cpu"))
        attention = NativeAttention(library, heads).prepare(step.layout)
        results.append((layer(random(len(step.qkv), HIDDEN), step.rotation, step.kv, attention), step.kv.per_block))
    (expected, expected_kv), (actual, actual_kv) = results
    assert torch.equal(actual, expected)
    for one, other in zip(actual_kv, expected_kv, strict=True):
        assert torch.equal(one.view(torch.uint8), other.view(torch.uint8))


def test_a_small_step_after_a_large_one(library: ctypes.CDLL) -> None:
    kernels, heads = NativeKernels(library), LAYOUTS[0]
    parts = build(kernels, heads, bias=False)
    fused = kernels.fuse(parts)
    for row in (Row(90, 0), Row(1, 7)):
        x, step = random(row.num_tokens, HIDDEN), bfloat16_step([row], heads)
        attention = NativeAttention(library, heads).prepare(step.layout)
        actual = fused(x, step.rotation, step.kv, attention)
        assert torch.equal(actual, parts(x, step.rotation, step.kv, attention))


def test_attention_of_other_kernels_is_called_between_the_parts(library: ctypes.CDLL) -> None:
    kernels, heads = NativeKernels(library), LAYOUTS[0]
    parts = build(kernels, heads, bias=False)
    x, step = random(5, HIDDEN), bfloat16_step([Row(5, 0)], heads)
    attention = TorchAttention(heads).prepare(step.layout)
    fused = kernels.fuse(parts)(x, step.rotation, step.kv, attention)
    assert torch.equal(fused, parts(x, step.rotation, step.kv, attention))


def test_layers_that_cannot_be_fused_stay_what_they_are(library: ctypes.CDLL) -> None:
    kernels, heads = NativeKernels(library), LAYOUTS[0]
    parts = build(kernels, heads, bias=False)
    narrow = build(kernels, heads, bias=False, width=168)
    foreign = replace(parts, mlp_norm=TorchKernels().norm(random(HIDDEN), 1e-5))
    foreign_product = replace(parts, down=TorchKernels().linear(random(HIDDEN, WIDTH)))
    for layer in (narrow, foreign, foreign_product):
        assert kernels.fuse(layer) is layer
    assert TorchKernels().fuse(parts) is parts
