"""Rotary embedding and the KV write of a step's tokens."""

from dataclasses import dataclass

import torch
from torch import Tensor

from llama4coder.attention.batch import HeadLayout
from llama4coder.gpu.pool import Pool
from llama4coder.gpu.rope_kernels import rope_and_write_kernel
from llama4coder.gpu.tiles import next_power_of_two
from llama4coder.kv.formats.int8 import Int8KV
from llama4coder.kv.tensors import DenseKV
from llama4coder.layers.rope import Rotation

_BLOCK_HEADS = 4


@dataclass(frozen=True, slots=True)
class Rotated:
    """A step's tokens, not stored anywhere yet."""

    queries: Tensor  # [num_tokens, num_heads, head_dim]
    fresh: DenseKV  # each [num_tokens, num_kv_heads, head_dim]


def rotate(qkv: Tensor, rotation: Rotation, heads: HeadLayout) -> Rotated:
    """Queries, keys and values of a step in tensors of their own."""
    size = (len(qkv), heads.num_kv_heads, heads.head_dim)
    fresh = DenseKV(*(torch.empty(size, dtype=qkv.dtype, device=qkv.device) for _ in range(2)))
    return Rotated(rotate_and_write(qkv, rotation, None, fresh, heads), fresh)


def rotate_and_write(
    qkv: Tensor, rotation: Rotation, slots: Tensor | None, kv: DenseKV | Int8KV, heads: HeadLayout
) -> Tensor:
    """Rotated queries `[num_tokens, num_heads, head_dim]`; keys and values go to their slots of `kv`.

    A token whose slot is negative is rotated and not stored; without slots, tokens go to their places in the step.
    """
    queries = torch.empty(len(qkv), heads.num_heads, heads.head_dim, dtype=qkv.dtype, device=qkv.device)
    half = heads.head_dim // 2
    pool = Pool.of(kv)
    grid = (len(qkv), -(-(heads.num_heads + 2 * heads.num_kv_heads) // _BLOCK_HEADS))
    rope_and_write_kernel[grid](
        queries,
        pool.keys,
        pool.values,
        pool.key_scales,
        pool.value_scales,
        qkv.contiguous(),
        rotation.cos,
        rotation.sin,
        slots,
        NUM_HEADS=heads.num_heads,
        NUM_KV_HEADS=heads.num_kv_heads,
        HALF=half,
        BLOCK_HEADS=_BLOCK_HEADS,
        BLOCK_HALF=next_power_of_two(half),
        FORMAT=pool.format,
        num_warps=4,
    )
    return queries
