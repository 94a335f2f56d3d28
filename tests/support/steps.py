"""Random steps of paged attention, whatever computes them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llama4coder.attention.batch import HeadLayout, RowSpan, StepLayout
from llama4coder.kv.sizing import BLOCK_SIZE, num_blocks_for
from llama4coder.kv.striping import UNSHARDED, slots_of
from llama4coder.kv.tensors import DenseKV
from llama4coder.layers.rope import Rotation
from llama4coder.parallel.layout import Part


@dataclass(frozen=True, slots=True)
class Row:
    """`num_tokens` new tokens after `start` cached ones."""

    num_tokens: int
    start: int

    @property
    def length(self) -> int:
        return self.start + self.num_tokens


@dataclass(frozen=True, slots=True)
class RandomStep:
    """A layout over blocks scattered through the pool, and what a layer of it gets."""

    layout: StepLayout
    qkv: Tensor
    rotation: Rotation
    kv: DenseKV

    def exact(self) -> "RandomStep":
        """The same in float32 on the CPU, sharing nothing."""

        def wide(tensor: Tensor) -> Tensor:
            return tensor.detach().clone().float().cpu()

        return RandomStep(
            StepLayout(self.layout.rows, self.layout.slots.cpu(), self.layout.table, self.layout.shard),
            wide(self.qkv),
            Rotation(wide(self.rotation.cos), wide(self.rotation.sin)),
            DenseKV(wide(self.kv.keys), wide(self.kv.values)),
        )

    def on(self, shard: Part) -> "RandomStep":
        """The same where one KV shard holds its blocks alone, elsewhere in a pool of its own."""
        table = self.layout.table[:, shard.index :: shard.count]
        places = np.random.default_rng(shard.index).permutation(table.size).reshape(table.shape)
        block_of = torch.from_numpy(table.flatten()[np.argsort(places.flatten())])
        rows = [Row(span.num_tokens, span.start) for span in self.layout.rows]
        return RandomStep(
            layout_of(rows, places, self.qkv.device, shard),
            self.qkv,
            self.rotation,
            DenseKV(self.kv.keys[block_of], self.kv.values[block_of]),
        )


def random_step(rows: list[Row], heads: HeadLayout, dtype: torch.dtype, device: torch.device) -> RandomStep:
    """The same for the same arguments."""
    generator = torch.Generator().manual_seed(len(rows))

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator).to(device=device, dtype=dtype)

    blocks_per_row = max(num_blocks_for(row.length) for row in rows) + 1
    num_blocks = len(rows) * blocks_per_row
    table = np.random.default_rng(0).permutation(num_blocks).reshape(len(rows), blocks_per_row)
    num_tokens = sum(row.num_tokens for row in rows)
    width = (heads.num_heads + 2 * heads.num_kv_heads) * heads.head_dim
    angles = torch.randn(num_tokens, heads.head_dim // 2, generator=generator).repeat(1, 2)
    return RandomStep(
        layout_of(rows, table, device),
        normal(num_tokens, width),
        Rotation(*(part.to(device=device, dtype=dtype) for part in (angles.cos(), angles.sin()))),
        DenseKV(*(normal(num_blocks, BLOCK_SIZE, heads.num_kv_heads, heads.head_dim) for _ in range(2))),
    )


def layout_of(
    rows: list[Row], table: npt.NDArray[np.int64], device: torch.device, shard: Part = UNSHARDED
) -> StepLayout:
    """Rows in the order given, row i on row i of the table."""
    firsts = np.cumsum([0, *(row.num_tokens for row in rows)])
    spans = tuple(
        RowSpan(int(first), row.num_tokens, row.start, index)
        for index, (first, row) in enumerate(zip(firsts, rows, strict=False))
    )
    table_rows = np.repeat(np.arange(len(rows)), [row.num_tokens for row in rows])
    positions = np.concatenate([np.arange(row.start, row.length) for row in rows])
    slots = slots_of(positions, table_rows, table, shard)
    return StepLayout(spans, torch.from_numpy(slots).to(device), table, shard)


def assert_like(actual: Tensor, expected: Tensor, *, rounding: float = 0.004) -> None:
    """Equal within `rounding` of the largest value: a few roundings of bfloat16 by default."""
    scale = expected.float().abs().max().item()
    torch.testing.assert_close(actual.float().cpu(), expected.float().cpu(), atol=1.5 * rounding * scale, rtol=rounding)
