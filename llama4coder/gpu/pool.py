"""A layer's KV memory as the kernels read it."""

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

import torch
from torch import Tensor

from llama4coder.gpu import format_kernels
from llama4coder.kv.formats.fp8 import Fp8Blocks
from llama4coder.kv.formats.int4 import Int4Blocks
from llama4coder.kv.formats.int8 import Int8KV
from llama4coder.kv.formats.tail import TailedKV
from llama4coder.kv.tensors import DenseKV, LayerKV

Arguments: TypeAlias = tuple[Tensor | None, ...]  # of a kernel, in its order


class PoolFormat(IntEnum):
    """What kernels are compiled for."""

    DENSE = format_kernels.DENSE.value
    INT8 = format_kernels.INT8.value
    FP8 = format_kernels.FP8.value
    FP8_BY_BITS = format_kernels.FP8_BY_BITS.value
    INT4 = format_kernels.INT4.value


@dataclass(frozen=True, slots=True)
class Pool:
    """The blocks of a layer; the first two axes of `keys` and `values` are blocks and their tokens."""

    format: PoolFormat
    keys: Tensor
    values: Tensor
    key_scales: Tensor | None = None
    value_scales: Tensor | None = None
    key_lows: Tensor | None = None
    value_lows: Tensor | None = None

    @classmethod
    def of(cls, kv: LayerKV) -> "Pool":
        """Of any format; its tails are not part of it."""
        match kv:
            case DenseKV():
                return cls(PoolFormat.DENSE, kv.keys, kv.values)
            case Int8KV():
                return cls(PoolFormat.INT8, kv.keys, kv.values, kv.key_scales, kv.value_scales)
            case Fp8Blocks():
                keys, values = kv.keys.view(torch.uint8), kv.values.view(torch.uint8)
                return cls(fp8_format(keys.device), keys, values, kv.key_scales, kv.value_scales)
            case Int4Blocks():
                scales, lows = (kv.key_scales, kv.value_scales), (kv.key_lows, kv.value_lows)
                return cls(PoolFormat.INT4, kv.keys, kv.values, *scales, *lows)
            case TailedKV():
                return cls.of(kv.blocks)
        raise AssertionError(f"no kernel reads {type(kv).__name__}")

    @property
    def arguments(self) -> Arguments:
        """Keys and values, their scales, their lows."""
        return self.keys, self.values, self.key_scales, self.value_scales, self.key_lows, self.value_lows


def fp8_format(device: torch.device) -> PoolFormat:
    """How this device reads e4m3; the interpreter as the devices that have it."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 9):
        return PoolFormat.FP8_BY_BITS
    return PoolFormat.FP8
