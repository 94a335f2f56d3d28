"""Blocks in 8-bit floating point (e4m3), each head of a block with a scale of its own."""

from dataclasses import dataclass

import torch
from torch import Tensor

from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.kv.tensors import DenseKV
from llama4coder.parallel.plan import RankPlan

_LARGEST = 448.0  # of e4m3


@dataclass(frozen=True, slots=True)
class Fp8Blocks:
    """Implements `kv.formats.tail.BlockwiseKV`."""

    keys: Tensor  # [num_blocks, block_size, num_kv_heads, head_dim] float8_e4m3fn
    values: Tensor
    key_scales: Tensor  # [num_blocks, num_kv_heads] float32
    value_scales: Tensor
    dtype: torch.dtype  # of what is read

    @classmethod
    def allocate(cls, plan: RankPlan, num_blocks: int, dtype: torch.dtype, device: torch.device) -> "Fp8Blocks":
        """All zeros."""
        size = (num_blocks, BLOCK_SIZE, plan.num_kv_heads, plan.shape.head_dim)
        keys, values = (torch.zeros(size, dtype=torch.float8_e4m3fn, device=device) for _ in range(2))
        key_scales, value_scales = (
            torch.zeros(num_blocks, plan.num_kv_heads, dtype=torch.float32, device=device) for _ in range(2)
        )
        return cls(keys, values, key_scales, value_scales, dtype)

    @property
    def per_block(self) -> tuple[Tensor, ...]:
        """See `LayerKV.per_block`."""
        return self.keys, self.values, self.key_scales, self.value_scales

    def read(self, block_ids: Tensor) -> DenseKV:
        """See `LayerKV.read`."""
        return DenseKV(
            _widened(self.keys[block_ids], self.key_scales[block_ids], self.dtype),
            _widened(self.values[block_ids], self.value_scales[block_ids], self.dtype),
        )

    def seal(self, block_ids: Tensor, keys: Tensor, values: Tensor) -> None:
        """See `BlockwiseKV.seal`."""
        _put(self.keys, self.key_scales, block_ids, keys)
        _put(self.values, self.value_scales, block_ids, values)


def _put(kept: Tensor, scales: Tensor, block_ids: Tensor, blocks: Tensor) -> None:
    wide = blocks.float()
    scale = wide.abs().amax((1, 3)) / _LARGEST
    inverse = torch.where(scale > 0, 1 / scale, 0.0)
    rounded = (wide * inverse[:, None, :, None]).clamp(-_LARGEST, _LARGEST).to(torch.float8_e4m3fn)
    kept.view(torch.uint8)[block_ids] = rounded.view(torch.uint8)
    scales[block_ids] = scale


def _widened(kept: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    return (kept.float() * scales[..., None, :, None]).to(dtype)
