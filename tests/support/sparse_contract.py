"""What every attention backend must do where tokens read a few blocks only, by definition and in float32."""

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
from llama4coder.kv.formats.bounds import BoundedBlocks, BoundedKV, KeyBounds, bounds_of
from llama4coder.kv.formats.tail import TailedKV
from llama4coder.kv.sizing import BLOCK_SIZE, num_blocks_for
from llama4coder.kv.sparsity import RECENT_BLOCKS, SINK_BLOCKS, Sparsity
from llama4coder.kv.tensors import LayerKV
from llama4coder.parallel.layout import Part
from tests.support.format_steps import FormatStep, format_step
from tests.support.steps import Row, assert_like

FORMATS: tuple[KVFormat, ...] = ("dense", "int8", "fp8", "int4")
STEPS = {
    "decode": [Row(1, 300), Row(1, 95), Row(1, 96), Row(1, 200), Row(1, 20)],
    "verify": [Row(6, 170), Row(9, 159), Row(8, 90)],
    "recomputed": [Row(140, 0), Row(30, 130)],
    "mixed": [Row(1, 250), Row(40, 100), Row(20, 30), Row(1, 0)],
}
NUM_PROMPT_TOKENS = 110  # of every row


@dataclass(frozen=True, slots=True)
class SparseSubject:
    """An implementation, and how exactly it computes."""

    backend: Callable[[HeadLayout, KVFormat], ShardableAttention]
    heads: HeadLayout
    dtype: torch.dtype
    device: torch.device
    rounding: float

    def step(self, kind: str, kv_format: KVFormat, shard: Part, top_blocks: int | None) -> FormatStep:
        """One of `STEPS`, whose tokens after the prompt read so many blocks."""
        sparsity = None if top_blocks is None else Sparsity.of(NUM_PROMPT_TOKENS, top_blocks)
        step = format_step(STEPS[kind], self.heads, kv_format, self.dtype, self.device, shard)
        rows = tuple(replace(row, sparsity=sparsity) for row in step.layout.rows)
        return replace(step, layout=replace(step.layout, rows=rows), kv=bounded(step.kv))


def bounded(kv: LayerKV) -> LayerKV:
    """The same blocks, with the bounds of their keys."""
    all_blocks = torch.arange(len(kv.per_block[0]))
    keys = kv.read(all_blocks.to(kv.per_block[0].device)).keys
    bounds = KeyBounds(torch.stack((keys.amin(1), keys.amax(1)), dim=2))
    if isinstance(kv, TailedKV):
        return replace(kv, blocks=BoundedBlocks(kv.blocks, bounds))
    return BoundedKV(kv, bounds)  # type: ignore[arg-type]  # the other formats are all tokenwise


def read_by_definition(
    queries: Tensor, keys: Tensor, position: int, sparsity: Sparsity | None, shard: Part
) -> list[set[int]]:
    """Of each KV head the blocks of the shard that a token reads, with its own; one token and block after the other.

    `queries` `[num_heads, head_dim]`, `keys` `[length, num_kv_heads, head_dim]` as they are read.
    """
    own = position // BLOCK_SIZE
    held = [block for block in range(own + 1) if block % shard.count == shard.index]
    num_kv_heads = keys.shape[1]
    if sparsity is None or position < sparsity.start:
        return [set(held)] * num_kv_heads
    always = {block for block in held if block < SINK_BLOCKS or block > own - RECENT_BLOCKS}
    read = []
    for kv_head, group in enumerate(queries.chunk(num_kv_heads)):
        bounds = {}
        for block in set(held) - always:
            content = keys[block * BLOCK_SIZE : (block + 1) * BLOCK_SIZE, kv_head]
            products = torch.maximum(group * content.amin(0), group * content.amax(0))
            bounds[block] = float(products.sum())
        best = sorted(bounds, key=lambda block: (-bounds[block], block))
        num_best = max(0, sparsity.per_shard(shard.count) - len(always))
        read.append(always | set(best[:num_best]))
    return read


def by_definition(step: FormatStep) -> AttentionOutput:
    """Token by token; after the step."""
    queries = step.queries().float()
    out, lse = torch.zeros_like(queries), torch.full(queries.shape[:2], -torch.inf)
    group = step.heads.num_heads // step.heads.num_kv_heads
    for index, span in enumerate(step.layout.rows):
        kept, dense = step.compressed(index), step.dense[index]
        for offset in range(span.num_tokens):
            token, position = span.first + offset, span.start + offset
            own = position // BLOCK_SIZE * BLOCK_SIZE if isinstance(step.kv, TailedKV) else position + 1
            read = read_by_definition(queries[token], kept.keys, position, span.sparsity, step.layout.shard)
            for kv_head, blocks in enumerate(read):
                places = torch.tensor([place for place in range(position + 1) if place // BLOCK_SIZE in blocks])
                if not len(places):
                    continue
                is_kept = (places < own).unsqueeze(1)
                keys, values = (
                    torch.where(is_kept, kept_part[places, kv_head], dense_part[places, kv_head])
                    for kept_part, dense_part in zip(kept.per_block, dense.per_block, strict=True)
                )
                heads = slice(kv_head * group, (kv_head + 1) * group)
                scores = queries[token, heads] @ keys.T * step.heads.head_dim**-0.5
                lse[token, heads], out[token, heads] = scores.logsumexp(-1), scores.softmax(-1) @ values
    return AttentionOutput(out, lse)


class SparseContract:
    """Subclass it, and give a `subject` fixture."""

    @pytest.fixture
    def subject(self) -> SparseSubject:
        raise NotImplementedError

    @pytest.mark.parametrize("num_shards", [1, 3])
    @pytest.mark.parametrize("kind", STEPS)
    @pytest.mark.parametrize("kv_format", FORMATS)
    def test_tokens_after_the_prompt_read_the_best_blocks(
        self, subject: SparseSubject, kv_format: KVFormat, kind: str, num_shards: int
    ) -> None:
        for index in range(num_shards):
            step = subject.step(kind, kv_format, Part(index, num_shards), top_blocks=5)
            backend = subject.backend(subject.heads, kv_format)
            part = backend.prepare_shard(step.layout)(step.qkv, step.rotation, step.kv)
            expected = by_definition(step)
            assert_like(part.out, expected.out, rounding=subject.rounding)
            torch.testing.assert_close(part.lse.cpu(), expected.lse, atol=4 * subject.rounding, rtol=subject.rounding)

    def test_a_shard_reads_what_is_always_read_even_if_its_part_is_smaller(self, subject: SparseSubject) -> None:
        for index in range(5):
            step = subject.step("verify", "dense", Part(index, 5), top_blocks=5)
            part = subject.backend(subject.heads, "dense").prepare_shard(step.layout)(step.qkv, step.rotation, step.kv)
            assert_like(part.out, by_definition(step).out, rounding=subject.rounding)

    def test_of_blocks_with_equal_bounds_the_first_are_read(self, subject: SparseSubject) -> None:
        step = subject.step("decode", "dense", Part(0, 1), top_blocks=6)
        assert isinstance(step.kv, BoundedKV)
        step.kv.kv.per_block[0].zero_()  # the keys
        step.kv.bounds.kept.zero_()
        part = subject.backend(subject.heads, "dense").prepare_shard(step.layout)(step.qkv, step.rotation, step.kv)
        assert_like(part.out, by_definition(step).out, rounding=subject.rounding)

    @pytest.mark.parametrize("kind", STEPS)
    @pytest.mark.parametrize("kv_format", FORMATS)
    def test_the_whole_is_the_only_part(self, subject: SparseSubject, kv_format: KVFormat, kind: str) -> None:
        make = partial(subject.step, kind, kv_format, Part(0, 1), 5)
        step, again, backend = make(), make(), subject.backend(subject.heads, kv_format)
        whole = backend.prepare(step.layout)(step.qkv, step.rotation, step.kv)
        part = backend.prepare_shard(again.layout)(again.qkv, again.rotation, again.kv)
        assert whole.dtype == step.qkv.dtype
        assert_like(whole, part.out.flatten(1), rounding=subject.rounding)

    @pytest.mark.parametrize("num_shards", [1, 3])
    @pytest.mark.parametrize("kind", STEPS)
    @pytest.mark.parametrize("kv_format", FORMATS)
    def test_reading_all_blocks_gives_the_bits_of_reading_everything(
        self, subject: SparseSubject, kv_format: KVFormat, kind: str, num_shards: int
    ) -> None:
        all_blocks = max(num_blocks_for(row.length) for row in STEPS[kind])
        backend = subject.backend(subject.heads, kv_format)
        for index in range(num_shards):
            numbers = (None, all_blocks, None)
            steps = [subject.step(kind, kv_format, Part(index, num_shards), number) for number in numbers]
            steps[2] = _choosing(steps[2], all_blocks)
            dense, *others = (backend.prepare_shard(step.layout)(step.qkv, step.rotation, step.kv) for step in steps)
            for other in others:
                assert torch.equal(other.out, dense.out) and torch.equal(other.lse, dense.lse)

    @pytest.mark.parametrize("kind", STEPS)
    @pytest.mark.parametrize("kv_format", FORMATS)
    def test_the_whole_does_so_too(self, subject: SparseSubject, kv_format: KVFormat, kind: str) -> None:
        all_blocks = max(num_blocks_for(row.length) for row in STEPS[kind])
        backend = subject.backend(subject.heads, kv_format)
        steps = [subject.step(kind, kv_format, Part(0, 1), most) for most in (None, all_blocks)]
        dense, sparse = (backend.prepare(step.layout)(step.qkv, step.rotation, step.kv) for step in steps)
        assert torch.equal(sparse, dense)

    @pytest.mark.parametrize("kind", STEPS)
    @pytest.mark.parametrize("kv_format", FORMATS)
    def test_bounds_are_those_of_the_keys_of_full_blocks(
        self, subject: SparseSubject, kv_format: KVFormat, kind: str
    ) -> None:
        step = subject.step(kind, kv_format, Part(0, 1), top_blocks=5)
        subject.backend(subject.heads, kv_format).prepare(step.layout)(step.qkv, step.rotation, step.kv)
        for index, span in enumerate(step.layout.rows):
            num_full, sizes = span.length // BLOCK_SIZE, (subject.heads.num_kv_heads, subject.heads.head_dim)
            keys = step.compressed(index).keys[: num_full * BLOCK_SIZE].view(num_full, BLOCK_SIZE, *sizes)
            ids = torch.from_numpy(step.layout.table)[span.table_row, :num_full].to(subject.device)
            bounds = bounds_of(step.kv)[ids].float().cpu()
            assert torch.equal(bounds[:, :, 0], keys.amin(1)) and torch.equal(bounds[:, :, 1], keys.amax(1))


def _choosing(step: FormatStep, num_blocks: int) -> FormatStep:
    """The same, where tokens choose their blocks even if there are no more than they may read."""
    sparsity = Sparsity(NUM_PROMPT_TOKENS, num_blocks)
    rows = tuple(replace(row, sparsity=sparsity) for row in step.layout.rows)
    return replace(step, layout=replace(step.layout, rows=rows))
