"""Rotary embedding and the KV write of a step's tokens."""

import torch
from torch import Tensor

from llama4coder.attention.batch import HeadLayout
from llama4coder.gpu.rope_kernels import rope_and_write_kernel
from llama4coder.gpu.tiles import next_power_of_two
from llama4coder.kv.tensors import DenseKV
from llama4coder.layers.rope import Rotation

_BLOCK_HEADS = 4


def rotate_and_write(qkv: Tensor, rotation: Rotation, slots: Tensor, kv: DenseKV, heads: HeadLayout) -> Tensor:
    """Rotated queries `[num_tokens, num_heads, head_dim]`; keys and values go to their slots of `kv`.

    A token whose slot is negative is rotated and not stored.
    """
    queries = torch.empty(len(qkv), heads.num_heads, heads.head_dim, dtype=qkv.dtype, device=qkv.device)
    half = heads.head_dim // 2
    grid = (len(qkv), -(-(heads.num_heads + 2 * heads.num_kv_heads) // _BLOCK_HEADS))
    rope_and_write_kernel[grid](
        queries,
        kv.keys,
        kv.values,
        qkv.contiguous(),
        rotation.cos,
        rotation.sin,
        slots,
        NUM_HEADS=heads.num_heads,
        NUM_KV_HEADS=heads.num_kv_heads,
        HALF=half,
        BLOCK_HEADS=_BLOCK_HEADS,
        BLOCK_HALF=next_power_of_two(half),
        num_warps=4,
    )
    return queries
