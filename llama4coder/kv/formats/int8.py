"""Keys and values in 8 bits, each token and head with a scale of its own."""

from dataclasses import dataclass

import torch
from torch import Tensor

from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.kv.tensors import DenseKV
from llama4coder.parallel.plan import RankPlan

_LARGEST = 127


@dataclass(frozen=True, slots=True)
class Int8KV:
    """Implements `kv.tensors.TokenwiseKV`: what is kept is the nearest of 255 equal steps."""

    keys: Tensor  # [num_blocks, block_size, num_kv_heads, head_dim] int8
    values: Tensor
    key_scales: Tensor  # [num_blocks, block_size, num_kv_heads] float32
    value_scales: Tensor
    dtype: torch.dtype  # of what is read

    @classmethod
    def allocate(cls, plan: RankPlan, num_blocks: int, dtype: torch.dtype, device: torch.device) -> "Int8KV":
        """All zeros."""
        heads = (num_blocks, BLOCK_SIZE, plan.num_kv_heads)
        keys, values = (torch.zeros(*heads, plan.shape.head_dim, dtype=torch.int8, device=device) for _ in range(2))
        key_scales, value_scales = (torch.zeros(heads, dtype=torch.float32, device=device) for _ in range(2))
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

    def write(self, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """See `TokenwiseKV.write`."""
        _put(self.keys, self.key_scales, slots, keys)
        _put(self.values, self.value_scales, slots, values)


def _put(steps: Tensor, scales: Tensor, slots: Tensor, tokens: Tensor) -> None:
    wide = tokens.float()
    scale = wide.abs().amax(-1) / _LARGEST
    inverse = torch.where(scale > 0, 1 / scale, 0.0)
    rounded = (wide * inverse.unsqueeze(-1)).round().clamp(-_LARGEST, _LARGEST).to(torch.int8)
    steps.view(-1, *steps.shape[2:]).index_copy_(0, slots, rounded)
    scales.view(-1, scales.shape[2]).index_copy_(0, slots, scale)


def _widened(steps: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    return (steps.float() * scales.unsqueeze(-1)).to(dtype)
