"""What every `ShardableAttention` must do with the keys of one KV shard, by definition and in float32."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

from llama4coder.attention.backend import ShardableAttention
from llama4coder.attention.batch import HeadLayout
from llama4coder.attention.merge import AttentionOutput
from llama4coder.attention.torch_backend import TorchAttention
from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.parallel.layout import Part
from tests.support.steps import RandomStep, Row, assert_like, random_step

HEADS = HeadLayout(6, 2, 32)
STEPS = {
    "decode": [Row(1, 0), Row(1, 15), Row(1, 16), Row(1, 31), Row(1, 300)],
    "verify": [Row(6, 13), Row(8, 0), Row(3, 263)],
    "whole prompt": [Row(50, 0)],
    "later chunk": [Row(33, 170), Row(9, 15)],
    "mixed": [Row(1, 200), Row(20, 30), Row(4, 5), Row(1, 0)],
}


@dataclass(frozen=True, slots=True)
class Subject:
    """An implementation, and how exactly it computes."""

    backend: Callable[[HeadLayout], ShardableAttention]
    dtype: torch.dtype
    device: torch.device
    rounding: float


def by_definition(step: RandomStep, shard: Part) -> AttentionOutput:
    """Token by token, over the keys of the whole pool that lie in blocks of this shard."""
    queries = step.rotation(step.qkv.view(len(step.qkv), -1, HEADS.head_dim)[:, : HEADS.num_heads])
    out, lse = torch.zeros_like(queries), torch.full(queries.shape[:2], -torch.inf)
    group = HEADS.num_heads // HEADS.num_kv_heads
    for span in step.layout.rows:
        blocks = step.layout.table[span.table_row]
        keys, values = (
            cache[blocks].flatten(0, 1).repeat_interleave(group, 1) for cache in (step.kv.keys, step.kv.values)
        )
        for offset in range(span.num_tokens):
            seen = torch.arange(span.start + offset + 1)
            seen = seen[seen // BLOCK_SIZE % shard.count == shard.index]
            token = span.first + offset
            scores = torch.einsum("hd,khd->hk", queries[token], keys[seen]) * HEADS.head_dim**-0.5
            lse[token] = scores.logsumexp(-1)
            if len(seen):
                out[token] = torch.einsum("hk,khd->hd", scores.softmax(-1), values[seen])
    return AttentionOutput(out, lse)


class ShardAttentionContract:
    """Subclass it, and give a `subject` fixture."""

    @pytest.fixture
    def subject(self) -> Subject:
        raise NotImplementedError

    @pytest.mark.parametrize("num_shards", [2, 3])
    @pytest.mark.parametrize("kind", STEPS)
    def test_parts_are_attention_to_own_keys_and_together_the_whole(
        self, subject: Subject, kind: str, num_shards: int
    ) -> None:
        step = random_step(STEPS[kind], HEADS, subject.dtype, subject.device)
        exact = step.exact()
        whole = TorchAttention(HEADS).prepare(exact.layout)(exact.qkv, exact.rotation, exact.kv)
        parts = []
        for index in range(num_shards):
            shard = Part(index, num_shards)
            local = step.on(shard)
            part = subject.backend(HEADS).prepare_shard(local.layout)(local.qkv, local.rotation, local.kv)
            expected = by_definition(exact, shard)
            assert part.out.dtype == part.lse.dtype == torch.float32
            assert_like(part.out, expected.out, rounding=subject.rounding)
            # Of the rounded queries' scores.
            torch.testing.assert_close(part.lse.cpu(), expected.lse, atol=4 * subject.rounding, rtol=subject.rounding)
            nothing = expected.lse.isneginf()
            assert part.out.cpu()[nothing].eq(0).all()
            assert_like(local.kv.keys, exact.on(shard).kv.keys, rounding=subject.rounding)
            assert_like(local.kv.values, exact.on(shard).kv.values, rounding=subject.rounding)
            parts.append(part)
        outs, lses = torch.stack([part.out for part in parts]), torch.stack([part.lse for part in parts])
        merged = subject.backend(HEADS).merge(outs, lses)
        assert_like(merged.out.flatten(1), whole, rounding=subject.rounding)

    def test_a_shard_without_any_key_of_the_step(self, subject: Subject) -> None:
        """Short prompts have one block, on the first shard."""
        local = random_step([Row(12, 0), Row(1, 4), Row(3, 9)], HEADS, subject.dtype, subject.device).on(Part(1, 2))
        before = local.kv.keys.clone()
        part = subject.backend(HEADS).prepare_shard(local.layout)(local.qkv, local.rotation, local.kv)
        assert part.out.eq(0).all() and part.lse.isneginf().all()
        assert torch.equal(local.kv.keys, before)
