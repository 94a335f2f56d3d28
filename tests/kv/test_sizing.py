"""What sizing predicts is what the CPU engine allocates, for each layout, type, weight format and KV format."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from llama4coder.config import DType, KVFormat, QuantFormat
from llama4coder.engine.hardware import choose_kernels
from llama4coder.exclusions import Exclusions
from llama4coder.kv.formats.allocate import allocate_kv
from llama4coder.kv.formats.tail import TailSize
from llama4coder.kv.sizing import kv_bytes_per_block, kv_tail_bytes, tail_tokens, weight_bytes
from llama4coder.models.llama import Llama
from llama4coder.models.loader import build_llama
from llama4coder.models.weights import Placement
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.parallel.plan import RankPlan
from llama4coder.parallel.share import RankShare
from llama4coder.shape import ModelShape
from tests.bench.gpu_report import tensor_bytes
from tests.support.shapes import TINY
from tests.support.thread_group import make_shares

SHAPE = replace(TINY, vocab_size=2048, hidden_size=256, intermediate_size=768, num_heads=8, num_kv_heads=4, head_dim=32)
UNTIED = replace(SHAPE, tied_embeddings=False, qkv_bias=True, attention_out_bias=True, mlp_bias=True)
TIED = replace(SHAPE, tied_embeddings=True)
LAYOUTS = [ParallelLayout(1, 1), ParallelLayout(2, 1), ParallelLayout(1, 2), ParallelLayout(4, 2)]
WEIGHTS: list[tuple[DType, QuantFormat]] = [
    ("float32", "none"),
    ("bfloat16", "none"),
    ("bfloat16", "int8"),
    ("bfloat16", "int4"),
    ("bfloat16", "fp8"),
    ("bfloat16", "nf4"),
    ("float32", "int4"),
    ("float32", "nf4"),
]
KV_FORMATS: list[KVFormat] = ["dense", "int8", "fp8", "int4"]
NUM_BLOCKS, MAX_SEQUENCES, MAX_DRAFT_TOKENS = 40, 4, 3


@dataclass(frozen=True, slots=True)
class RankZeros:
    """Implements `models.loader.TensorSource` with one rank's parts of a model of zeros."""

    plan: RankPlan
    placement: Placement

    def read(self, name: str, size: Sequence[int]) -> Tensor:
        return torch.zeros(self.plan.slice_of(name, tuple(size)).size, dtype=self.placement.dtype)

    def read_rows(self, names: Sequence[str], sizes: Sequence[Sequence[int]]) -> Tensor:
        return torch.cat([self.read(name, size) for name, size in zip(names, sizes, strict=True)])


def build(share: RankShare, dtype: DType, quant: QuantFormat, excluded: tuple[str, ...] = ()) -> Llama:
    placement = Placement.of(dtype, "cpu", excluded)
    kernels = choose_kernels(placement, quant, 1)
    return build_llama(RankZeros(share.plan, placement), share, 64, kernels, placement)


def allocated_weight_bytes(model: Llama) -> int:
    table = getattr(model.embedding, "__self__", model.embedding)  # a method of the table, or what sums its parts
    return tensor_bytes(table, model.layers, model.norm, model.head)


@pytest.mark.parametrize("shape", [TIED, UNTIED], ids=["tied", "untied"])
@pytest.mark.parametrize(("dtype", "quant"), WEIGHTS, ids="-".join)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_weights_take_what_was_predicted(
    layout: ParallelLayout, dtype: DType, quant: QuantFormat, shape: ModelShape
) -> None:
    for share in make_shares(shape, layout):
        predicted = weight_bytes(share.plan, dtype, quant)
        assert allocated_weight_bytes(build(share, dtype, quant)) == pytest.approx(predicted, rel=0.03)


@pytest.mark.parametrize("shape", [TIED, UNTIED], ids=["tied", "untied"])
@pytest.mark.parametrize("excluded", [("lm_head",), ("*.down_proj", "model.layers.0.*"), ("*",)], ids=str)
@pytest.mark.parametrize(("dtype", "quant"), WEIGHTS, ids="-".join)
def test_excluded_weights_take_their_bytes_in_the_models_dtype(
    dtype: DType, quant: QuantFormat, excluded: tuple[str, ...], shape: ModelShape
) -> None:
    """To the byte: these sizes need no padding."""
    for share in make_shares(shape, ParallelLayout(2, 1)):
        predicted = weight_bytes(share.plan, dtype, quant, Exclusions(excluded))
        assert allocated_weight_bytes(build(share, dtype, quant, excluded)) == predicted


@pytest.mark.parametrize("kv_format", KV_FORMATS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_blocks_and_tails_take_what_was_predicted(layout: ParallelLayout, dtype: DType, kv_format: KVFormat) -> None:
    placement = Placement.of(dtype, "cpu")
    for rank in range(layout.num_ranks):
        plan = RankPlan(SHAPE, layout, rank)
        tails = TailSize(MAX_SEQUENCES, tail_tokens(MAX_DRAFT_TOKENS))
        allocated = tensor_bytes(allocate_kv(plan, NUM_BLOCKS, placement, kv_format, tails))
        predicted = NUM_BLOCKS * kv_bytes_per_block(plan, dtype, kv_format)
        predicted += kv_tail_bytes(plan, dtype, kv_format, MAX_SEQUENCES, MAX_DRAFT_TOKENS)
        assert allocated == pytest.approx(predicted, rel=0.03)


def test_each_kv_format_takes_less_than_the_one_before() -> None:
    plan = RankPlan.alone(SHAPE)
    sizes = [kv_bytes_per_block(plan, "bfloat16", kv_format) for kv_format in ("dense", "int8", "fp8", "int4")]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 4
