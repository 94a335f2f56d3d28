"""Blocks in 4 bits: keys by the channel, which differ more from each other than tokens do; values by the token.

After KIVI (arXiv 2402.02750), with a block as the group. From the lowest to the highest of a group there are 15 equal
steps; a byte holds two channels, half a head apart.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.kv.tensors import DenseKV
from llama4coder.parallel.plan import RankPlan

_STEPS = 15


@dataclass(frozen=True, slots=True)
class Int4Blocks:
    """Implements `kv.formats.tail.BlockwiseKV`; head_dim is even."""

    keys: Tensor  # [num_blocks, block_size, num_kv_heads, head_dim / 2] uint8: channel i, and i + head_dim / 2 above it
    values: Tensor
    key_scales: Tensor  # [num_blocks, num_kv_heads, head_dim] float16
    key_lows: Tensor
    value_scales: Tensor  # [num_blocks, block_size, num_kv_heads] float16
    value_lows: Tensor
    dtype: torch.dtype  # of what is read

    @classmethod
    def allocate(cls, plan: RankPlan, num_blocks: int, dtype: torch.dtype, device: torch.device) -> "Int4Blocks":
        """All zeros."""
        head_dim, heads = plan.shape.head_dim, plan.num_kv_heads
        keys, values = (
            torch.zeros(num_blocks, BLOCK_SIZE, heads, head_dim // 2, dtype=torch.uint8, device=device)
            for _ in range(2)
        )
        key_scales, key_lows = (
            torch.zeros(num_blocks, heads, head_dim, dtype=torch.float16, device=device) for _ in range(2)
        )
        value_scales, value_lows = (
            torch.zeros(num_blocks, BLOCK_SIZE, heads, dtype=torch.float16, device=device) for _ in range(2)
        )
        return cls(keys, values, key_scales, key_lows, value_scales, value_lows, dtype)

    @property
    def per_block(self) -> tuple[Tensor, ...]:
        """See `LayerKV.per_block`."""
        return self.keys, self.values, self.key_scales, self.key_lows, self.value_scales, self.value_lows

    def read(self, block_ids: Tensor) -> DenseKV:
        """See `LayerKV.read`."""
        key_scales, key_lows = (part[block_ids].unsqueeze(-3) for part in (self.key_scales, self.key_lows))
        value_scales, value_lows = (part[block_ids].unsqueeze(-1) for part in (self.value_scales, self.value_lows))
        return DenseKV(
            (_unpacked(self.keys[block_ids]) * key_scales.float() + key_lows.float()).to(self.dtype),
            (_unpacked(self.values[block_ids]) * value_scales.float() + value_lows.float()).to(self.dtype),
        )

    def seal(self, block_ids: Tensor, keys: Tensor, values: Tensor) -> None:
        """See `BlockwiseKV.seal`."""
        by_channel, by_token = _rounded(keys.float(), over=1), _rounded(values.float(), over=3)
        self.keys[block_ids], self.values[block_ids] = by_channel.packed, by_token.packed
        self.key_scales[block_ids], self.key_lows[block_ids] = by_channel.scales, by_channel.lows
        self.value_scales[block_ids], self.value_lows[block_ids] = by_token.scales, by_token.lows


@dataclass(frozen=True, slots=True)
class _Rounded:
    packed: Tensor
    scales: Tensor
    lows: Tensor


def _rounded(blocks: Tensor, over: int) -> _Rounded:
    """Of `[num_blocks, block_size, num_kv_heads, head_dim]` in groups along one axis."""
    lows = blocks.amin(over).half()
    scales = ((blocks.amax(over) - lows.float()) / _STEPS).half()
    wide_scales = scales.float().unsqueeze(over)
    inverse = torch.where(wide_scales > 0, 1 / wide_scales, 0.0)
    steps = ((blocks - lows.float().unsqueeze(over)) * inverse).round().clamp(0, _STEPS).to(torch.uint8)
    first, second = steps.chunk(2, dim=-1)
    return _Rounded(first | second << 4, scales, lows)


def _unpacked(packed: Tensor) -> Tensor:
    return torch.cat((packed & _STEPS, packed >> 4), dim=-1).float()
