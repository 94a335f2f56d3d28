"""A layer's KV as the native kernels see it."""

import ctypes
from dataclasses import replace

import torch
from torch import Tensor

from llama4coder.kv.formats.bounds import BoundedBlocks, BoundedKV, bounds_of
from llama4coder.kv.formats.fp8 import Fp8Blocks
from llama4coder.kv.formats.int4 import Int4Blocks
from llama4coder.kv.formats.int8 import Int8KV
from llama4coder.kv.formats.tail import TailedKV
from llama4coder.kv.tensors import DenseKV, LayerKV

_DENSE, _INT8, _FP8, _INT4 = range(4)  # of kv_formats.h


class TokenKV(ctypes.Structure):
    """`token_kv` of kv_formats.h."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("keys", "values")]


class NativeKV(ctypes.Structure):
    """`layer_kv` of kv_formats.h."""

    _fields_ = [
        ("format", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("keys", "values", "key_scales", "value_scales")),
        *((name, ctypes.c_void_p) for name in ("key_lows", "value_lows")),
        ("tail", TokenKV),
        ("tail_tokens", ctypes.c_int64),
        ("bounds", ctypes.c_void_p),
    ]


def pointers_to(kv: LayerKV) -> NativeKV:
    """Valid for as long as `kv` is."""
    match kv:
        case BoundedKV() | TailedKV(blocks=BoundedBlocks()):
            return _bounded(kv)
        case DenseKV():
            return NativeKV(_DENSE, *_addresses(kv.keys, kv.values))
        case Int8KV():
            return NativeKV(_INT8, *_addresses(kv.keys, kv.values, kv.key_scales, kv.value_scales))
        case TailedKV(blocks=Fp8Blocks() as blocks):
            scales = (blocks.key_scales, blocks.value_scales)
            return _tailed(_FP8, kv, blocks.keys, blocks.values, *scales)
        case TailedKV(blocks=Int4Blocks() as blocks):
            scales, lows = (blocks.key_scales, blocks.value_scales), (blocks.key_lows, blocks.value_lows)
            return _tailed(_INT4, kv, blocks.keys, blocks.values, *scales, *lows)
    raise AssertionError("KV of another format")


def fresh_kv(kv: LayerKV, num_tokens: int, num_kv_heads: int, head_dim: int) -> Tensor:
    """Room for a step's own keys and values before they are compressed; none where the pool takes them as they are."""
    is_dense = isinstance(kv, DenseKV) or (isinstance(kv, BoundedKV) and isinstance(kv.kv, DenseKV))
    size = 0 if is_dense else num_tokens
    return torch.empty(2, size, num_kv_heads, head_dim, dtype=torch.bfloat16)


def _bounded(kv: BoundedKV | TailedKV) -> NativeKV:
    if isinstance(kv, BoundedKV):
        native = pointers_to(kv.kv)
    else:
        assert isinstance(kv.blocks, BoundedBlocks), "KV without bounds"
        native = pointers_to(replace(kv, blocks=kv.blocks.blocks))
    native.bounds = bounds_of(kv).data_ptr()
    return native


def _tailed(number: int, kv: TailedKV, *tensors: Tensor) -> NativeKV:
    addresses = [*_addresses(*tensors), None, None][:6]
    return NativeKV(number, *addresses, TokenKV(*_addresses(kv.tail.keys, kv.tail.values)), kv.tail.keys.shape[1])


def _addresses(*tensors: Tensor) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]
