"""Native attention to KV of each format, on every instruction set that this CPU has."""

import ctypes

import pytest
import torch

from llama4coder.attention.batch import HeadLayout
from llama4coder.attention.by_format import torch_attention
from llama4coder.config import KVFormat
from llama4coder.kv.formats.tail import TailedKV
from llama4coder.kv.tensors import LayerKV
from llama4coder.layers.rope import Rotation
from llama4coder.native.attention import NativeAttention
from tests.support.format_contract import FORMATS, STEPS, FormatContract, FormatSubject
from tests.support.format_steps import format_step
from tests.support.steps import Row, layout_of

CPU = torch.device("cpu")


class TestNative(FormatContract):
    @pytest.fixture(params=[HeadLayout(6, 2, 32), HeadLayout(9, 3, 64)], ids=str)
    def subject(self, library: ctypes.CDLL, request: pytest.FixtureRequest) -> FormatSubject:
        def backend(heads: HeadLayout, kv_format: KVFormat) -> NativeAttention:
            return NativeAttention(library, heads)

        return FormatSubject(backend, request.param, torch.bfloat16, CPU, rounding=0.006)


@pytest.mark.parametrize("kv_format", FORMATS)
def test_values_are_kept_in_the_same_bytes_as_by_torch(library: ctypes.CDLL, kv_format: KVFormat) -> None:
    """Keys are not, since torch rounds more than once while it rotates them."""
    heads = HeadLayout(6, 2, 64)
    steps = [format_step(STEPS["later chunk"], heads, kv_format, torch.bfloat16, CPU) for _ in range(2)]
    for step, attention in zip(
        steps, (NativeAttention(library, heads), torch_attention(heads, kv_format)), strict=True
    ):
        attention.prepare(step.layout)(step.qkv, step.rotation, step.kv)
    names = [name for name in ("values", "value_scales", "value_lows") if hasattr(compressed(steps[0].kv), name)]
    for name in names:
        native, reference = (getattr(compressed(step.kv), name).view(torch.uint8) for step in steps)
        assert torch.equal(native, reference), name


def compressed(kv: LayerKV) -> object:
    return kv.blocks if isinstance(kv, TailedKV) else kv


@pytest.mark.parametrize("kv_format", FORMATS)
@pytest.mark.parametrize("heads", [HeadLayout(4, 2, 32), HeadLayout(9, 3, 64)], ids=str)
def test_tokens_get_the_same_bits_together_and_one_by_one(
    library: ctypes.CDLL, heads: HeadLayout, kv_format: KVFormat
) -> None:
    """Speculation, chunks and company must not show."""
    row, attention = Row(40, 275), NativeAttention(library, heads)
    together, apart = (format_step([row], heads, kv_format, torch.bfloat16, CPU) for _ in range(2))
    expected = attention.prepare(together.layout)(together.qkv, together.rotation, together.kv)
    for token in range(row.num_tokens):
        layout = layout_of([Row(1, row.start + token)], apart.layout.table, CPU)
        here = slice(token, token + 1)
        rotation = Rotation(apart.rotation.cos[here], apart.rotation.sin[here])
        assert torch.equal(attention.prepare(layout)(apart.qkv[here], rotation, apart.kv), expected[here])
    for one, other in zip(together.kv.per_block, apart.kv.per_block, strict=True):
        assert torch.equal(one.view(torch.uint8), other.view(torch.uint8))
