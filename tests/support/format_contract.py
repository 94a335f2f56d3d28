"""What every attention backend must do with KV of each format, by definition and in float32."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from torch import Tensor

from llama4coder.attention.backend import ShardableAttention
from llama4coder.attention.batch import HeadLayout
from llama4coder.attention.merge import AttentionOutput
from llama4coder.config import KVFormat
from llama4coder.kv.formats.int8 import Int8KV
from llama4coder.kv.formats.tail import TailedKV
from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.kv.tensors import DenseKV
from llama4coder.parallel.layout import Part
from tests.support.format_steps import FormatStep, format_step
from tests.support.steps import Row, assert_like

FORMATS: tuple[KVFormat, ...] = ("int8", "fp8", "int4")
STEPS = {
    "decode": [Row(1, 0), Row(1, 15), Row(1, 16), Row(1, 31), Row(1, 300)],
    "verify": [Row(6, 13), Row(8, 0), Row(3, 263), Row(9, 31)],
    "whole prompt": [Row(35, 0)],
    "whole blocks": [Row(32, 0), Row(16, 16)],
    "later chunk": [Row(17, 170), Row(37, 15)],
    "mixed": [Row(1, 200), Row(20, 30), Row(4, 5), Row(1, 0)],
}
STEPS_WITH_PAST = ("decode", "verify", "later chunk", "mixed")


@dataclass(frozen=True, slots=True)
class FormatSubject:
    """An implementation for one format, and how exactly it computes."""

    backend: Callable[[HeadLayout, KVFormat], ShardableAttention]
    heads: HeadLayout
    dtype: torch.dtype
    device: torch.device
    rounding: float


def by_definition(step: FormatStep) -> AttentionOutput:
    """Compressed keys before a token's own block, and in its own what the format says; after the step."""
    queries = step.queries().float()
    out, lse = torch.zeros_like(queries), torch.full(queries.shape[:2], -torch.inf)
    group, shard = step.heads.num_heads // step.heads.num_kv_heads, step.layout.shard
    for index, span in enumerate(step.layout.rows):
        tokens = slice(span.first, span.first + span.num_tokens)
        positions, places = torch.arange(span.start, span.length).unsqueeze(1), torch.arange(span.length)
        own = positions // BLOCK_SIZE * BLOCK_SIZE if isinstance(step.kv, TailedKV) else positions + 1
        is_held = places // BLOCK_SIZE % shard.count == shard.index
        scores, values = [], []
        for kept, seen in ((step.compressed(index), places < own), (step.dense[index], places >= own)):
            keys = kept.keys[: span.length].repeat_interleave(group, 1)
            score = torch.einsum("qhd,khd->qhk", queries[tokens], keys) * step.heads.head_dim**-0.5
            is_seen = seen & (places <= positions) & is_held
            if step.heads.window is not None:
                is_seen &= places > positions - step.heads.window
            scores.append(score.masked_fill(~is_seen.unsqueeze(1), -torch.inf))
            values.append(kept.values[: span.length].repeat_interleave(group, 1))
        both = torch.cat(scores, dim=-1)
        lse[tokens] = both.logsumexp(-1)
        out[tokens] = torch.einsum("qhk,khd->qhd", both.softmax(-1).nan_to_num(0.0), torch.cat(values))
    return AttentionOutput(out, lse)


def largest_error(kv_format: KVFormat, dense: DenseKV) -> DenseKV:
    """How far from `[num_blocks, BLOCK_SIZE, num_kv_heads, head_dim]` the format's nearest numbers may be."""

    def spread(part: Tensor, over: int) -> Tensor:
        return (part.amax(over, keepdim=True) - part.amin(over, keepdim=True)).expand_as(part)

    def highest(part: Tensor, over: int | tuple[int, ...]) -> Tensor:
        return part.abs().amax(over, keepdim=True).expand_as(part)

    if kv_format == "int8":
        return DenseKV(*(0.5 * highest(part, 3) / 127 for part in (dense.keys, dense.values)))
    if kv_format == "fp8":
        return DenseKV(*(part.abs() / 16 + highest(part, (1, 3)) / 448 / 1024 for part in (dense.keys, dense.values)))
    return DenseKV(0.5 * spread(dense.keys, 1) / 15, 0.5 * spread(dense.values, 3) / 15)


class FormatContract:
    """Subclass it, and give a `subject` fixture."""

    @pytest.fixture
    def subject(self) -> FormatSubject:
        raise NotImplementedError

    @pytest.mark.parametrize("num_shards", [1, 3])
    @pytest.mark.parametrize("kind", STEPS)
    @pytest.mark.parametrize("kv_format", FORMATS)
    def test_tokens_see_their_own_block_dense_and_the_others_compressed(
        self, subject: FormatSubject, kv_format: KVFormat, kind: str, num_shards: int
    ) -> None:
        for index in range(num_shards):
            step = format_step(
                STEPS[kind], subject.heads, kv_format, subject.dtype, subject.device, Part(index, num_shards)
            )
            backend = subject.backend(subject.heads, kv_format)
            part = backend.prepare_shard(step.layout)(step.qkv, step.rotation, step.kv)
            expected = by_definition(step)
            assert part.out.dtype == part.lse.dtype == torch.float32
            assert_like(part.out, expected.out, rounding=subject.rounding)
            torch.testing.assert_close(part.lse.cpu(), expected.lse, atol=4 * subject.rounding, rtol=subject.rounding)
            assert part.out.cpu()[expected.lse.isneginf()].eq(0).all()

    @pytest.mark.parametrize("kv_format", FORMATS)
    def test_the_whole_is_the_only_part(self, subject: FormatSubject, kv_format: KVFormat) -> None:
        make = partial(format_step, STEPS["mixed"], subject.heads, kv_format, subject.dtype, subject.device)
        step, again, backend = make(), make(), subject.backend(subject.heads, kv_format)
        whole = backend.prepare(step.layout)(step.qkv, step.rotation, step.kv)
        part = backend.prepare_shard(again.layout)(again.qkv, again.rotation, again.kv)
        assert whole.dtype == step.qkv.dtype
        assert_like(whole, part.out.flatten(1), rounding=subject.rounding)

    @pytest.mark.parametrize("window", [16, 45])
    @pytest.mark.parametrize("kind", STEPS_WITH_PAST)
    @pytest.mark.parametrize("kv_format", ("dense", *FORMATS))
    def test_nothing_is_seen_before_the_window(
        self, subject: FormatSubject, kv_format: KVFormat, kind: str, window: int
    ) -> None:
        heads = replace(subject.heads, window=window)
        step = format_step(STEPS[kind], heads, kv_format, subject.dtype, subject.device)
        actual = subject.backend(heads, kv_format).prepare(step.layout)(step.qkv, step.rotation, step.kv)
        assert_like(actual, by_definition(step).out.flatten(1), rounding=subject.rounding)

    @pytest.mark.parametrize("kind", STEPS)
    @pytest.mark.parametrize("kv_format", FORMATS)
    def test_what_is_kept_is_the_nearest_that_the_format_has(
        self, subject: FormatSubject, kv_format: KVFormat, kind: str
    ) -> None:
        step = format_step(STEPS[kind], subject.heads, kv_format, subject.dtype, subject.device)
        subject.backend(subject.heads, kv_format).prepare(step.layout)(step.qkv, step.rotation, step.kv)
        for index, span in enumerate(step.layout.rows):
            num_kept = span.length if isinstance(step.kv, Int8KV) else span.length // BLOCK_SIZE * BLOCK_SIZE
            padded = step.padded_dense(index)
            bound = largest_error(kv_format, padded)
            kept, dense = step.compressed(index), step.dense[index]
            for compressed, exact, error in zip(kept.per_block, dense.per_block, bound.per_block, strict=True):
                limit = 1.05 * error.flatten(0, 1)[:num_kept] + 2 * subject.rounding * exact[:num_kept].abs() + 1e-3
                assert ((compressed[:num_kept] - exact[:num_kept]).abs() <= limit).all()

    @pytest.mark.parametrize("kv_format", ["fp8", "int4"])
    def test_the_last_tokens_stay_dense_for_the_next_step(self, subject: FormatSubject, kv_format: KVFormat) -> None:
        step = format_step(STEPS["later chunk"], subject.heads, kv_format, subject.dtype, subject.device)
        subject.backend(subject.heads, kv_format).prepare(step.layout)(step.qkv, step.rotation, step.kv)
        assert isinstance(step.kv, TailedKV)
        for index, span in enumerate(step.layout.rows):
            last = torch.arange(span.length // BLOCK_SIZE * BLOCK_SIZE, span.length)
            tail = step.kv.read_tail(span.table_row, last.to(subject.device))
            assert_like(tail.keys, step.dense[index].keys[last], rounding=subject.rounding)
            assert_like(tail.values, step.dense[index].values[last], rounding=subject.rounding)
