"""Random steps of paged attention over KV of any format, with what came before in the pool and in the tails."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from llama4coder.attention.batch import HeadLayout, StepLayout
from llama4coder.config import KVFormat
from llama4coder.kv.formats.allocate import allocate_kv
from llama4coder.kv.formats.tail import TailedKV, TailSize
from llama4coder.kv.sizing import BLOCK_SIZE, num_blocks_for, tail_tokens
from llama4coder.kv.striping import UNSHARDED, slots_of
from llama4coder.kv.tensors import DenseKV, LayerKV, TokenwiseKV
from llama4coder.layers.rope import Rotation
from llama4coder.models.weights import Placement
from llama4coder.parallel.layout import Part
from llama4coder.parallel.plan import RankPlan
from tests.support.shapes import TINY
from tests.support.steps import Row, layout_of

MOST_DRAFTS = 8


@dataclass(frozen=True, slots=True)
class FormatStep:
    """A layout, what a layer of it gets, and all keys and values of each row dense, in float32 on the CPU."""

    heads: HeadLayout
    layout: StepLayout
    qkv: Tensor
    rotation: Rotation
    kv: LayerKV
    dense: list[DenseKV]  # by row, [length, num_kv_heads, head_dim]

    def queries(self) -> Tensor:
        """Rotated, `[num_tokens, num_heads, head_dim]` on the CPU."""
        return _rotated(self.qkv, self.rotation, slice(0, self.heads.num_heads), self.heads)

    def compressed(self, index: int) -> DenseKV:
        """A row's keys and values as the pool has them now, by position; what another shard holds is zero."""
        shard, span = self.layout.shard, self.layout.rows[index]
        blocks = torch.arange(num_blocks_for(span.length))
        held = blocks[blocks % shard.count == shard.index]
        places = torch.from_numpy(self.layout.table)[span.table_row, held // shard.count]
        read = self.kv.read(places.to(self.qkv.device))
        whole = DenseKV(*(torch.zeros(len(blocks), *part.shape[1:]) for part in read.per_block))
        whole.keys[held], whole.values[held] = read.keys.float().cpu(), read.values.float().cpu()
        return DenseKV(whole.keys.flatten(0, 1), whole.values.flatten(0, 1))

    def padded_dense(self, index: int) -> DenseKV:
        """In blocks, of which the last is filled up with its own last token."""

        def padded(part: Tensor) -> Tensor:
            missing = -len(part) % BLOCK_SIZE
            return torch.cat((part, part[-1:].expand(missing, -1, -1))).view(-1, BLOCK_SIZE, *part.shape[1:])

        return DenseKV(*(padded(part) for part in self.dense[index].per_block))


def format_step(
    rows: list[Row],
    heads: HeadLayout,
    kv_format: KVFormat,
    dtype: torch.dtype,
    device: torch.device,
    shard: Part = UNSHARDED,
) -> FormatStep:
    """The same for the same arguments; on each shard the same tokens."""
    generator = torch.Generator().manual_seed(len(rows))
    blocks_per_row = num_blocks_for(max(row.length for row in rows)) // shard.count + 1
    table = np.random.default_rng(0).permutation(len(rows) * blocks_per_row).reshape(len(rows), blocks_per_row)
    num_tokens = sum(row.num_tokens for row in rows)
    angles = torch.randn(num_tokens, heads.head_dim // 2, generator=generator).repeat(1, 2)
    rotation = Rotation(*(part.to(device=device, dtype=dtype) for part in (angles.cos(), angles.sin())))
    width = (heads.num_heads + 2 * heads.num_kv_heads) * heads.head_dim
    qkv = torch.randn(num_tokens, width, generator=generator).to(device=device, dtype=dtype)
    kv = _empty(heads, kv_format, table.size, len(rows), Placement(dtype, device))
    layout = layout_of(rows, table, device, shard)
    step = FormatStep(heads, layout, qkv, rotation, kv, [])
    for index, row in enumerate(rows):
        before = DenseKV(
            *(
                torch.randn(row.start, heads.num_kv_heads, heads.head_dim, generator=generator).to(dtype)
                for _ in range(2)
            )
        )
        _fill(step, index, before)
        step.dense.append(_with_own(step, index, before))
    return step


def _empty(heads: HeadLayout, kv_format: KVFormat, num_blocks: int, num_rows: int, placement: Placement) -> LayerKV:
    shape = replace(
        TINY, num_layers=1, num_heads=heads.num_heads, num_kv_heads=heads.num_kv_heads, head_dim=heads.head_dim
    )
    plan = RankPlan.alone(shape)
    return allocate_kv(plan, num_blocks, placement, kv_format, TailSize(num_rows, tail_tokens(MOST_DRAFTS)))[0]


def _fill(step: FormatStep, index: int, before: DenseKV) -> None:
    """Put what came before the step where it would be."""
    shard, device, num_tokens = step.layout.shard, step.qkv.device, len(before.keys)
    before = DenseKV(before.keys.to(device), before.values.to(device))
    if isinstance(step.kv, TailedKV):
        blocks = torch.arange(num_tokens // BLOCK_SIZE)
        held = blocks[blocks % shard.count == shard.index]
        places = torch.from_numpy(step.layout.table)[index, held // shard.count].to(device)
        whole = (part[: len(blocks) * BLOCK_SIZE].view(-1, BLOCK_SIZE, *part.shape[1:]) for part in before.per_block)
        step.kv.blocks.seal(places, *(part[held.to(device)] for part in whole))
        rows, positions = torch.full((num_tokens,), index, device=device), torch.arange(num_tokens, device=device)
        step.kv.keep(rows, positions, torch.full_like(positions, num_tokens), before)
        return
    kv: TokenwiseKV = step.kv  # type: ignore[assignment]
    slots = slots_of(np.arange(num_tokens), np.full(num_tokens, index), step.layout.table, shard)
    kept = torch.from_numpy(slots).to(device)
    kv.write(kept[kept >= 0], before.keys[kept >= 0], before.values[kept >= 0])


def _with_own(step: FormatStep, index: int, before: DenseKV) -> DenseKV:
    heads, span = step.heads, step.layout.rows[index]
    first_value = heads.num_heads + heads.num_kv_heads
    tokens = slice(span.first, span.first + span.num_tokens)
    keys = _rotated(step.qkv, step.rotation, slice(heads.num_heads, first_value), heads)[tokens]
    values = step.qkv.view(len(step.qkv), -1, heads.head_dim)[tokens, first_value:].float().cpu()
    return DenseKV(torch.cat((before.keys.float(), keys)), torch.cat((before.values.float(), values)))


def _rotated(qkv: Tensor, rotation: Rotation, which: slice, heads: HeadLayout) -> Tensor:
    """In float32 on the CPU, and rounded once to the type in which they are kept."""
    wide = Rotation(rotation.cos.float().cpu(), rotation.sin.float().cpu())
    return wide(qkv.view(len(qkv), -1, heads.head_dim)[:, which].float().cpu()).to(qkv.dtype).float()
