"""NF4: weights in 4 bits, as quantiles of a normal distribution within groups of 64 (arXiv 2305.14314)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from llama4coder.gpu.nf4_kernels import nf4_product_kernel, nf4_unpack_kernel, sum_parts_kernel
from llama4coder.gpu.nf4_levels import ASM
from llama4coder.kv.sizing import NF4_GROUP
from llama4coder.quant.formats import NF4_LEVELS, Nf4Codes

MAX_FUSED_TOKENS = 16  # beyond, unpacking the weight for a dense product is the smaller cost

_TILE_ROWS = 64  # of the weight, whose groups of the same columns lie side by side
_PROGRAMS_WANTED = 1056  # eight for each multiprocessor of a large GPU
_MIN_GROUPS_PER_SPLIT = 8
_WEIGHTS_AT_ONCE = 2**26  # whose float32 copy is held while they are rounded
_SUM_BLOCK = 1024
_ASM = ASM if isinstance(nf4_product_kernel, triton.JITFunction) else {}  # triton's interpreter knows no PTX


@dataclass(frozen=True, slots=True)
class Nf4Weight:
    """A matrix `[out_features, in_features]` in 4 bits, in tiles of 64 rows, the last of which zeros may fill.

    Byte j of a group of a row holds its weights j (low half) and j + 32. What a program reads one after the other lies
    one after the other: first all rows of a tile for one group of columns, then those for the next.
    """

    packed: Tensor  # [num_tiles, in_features / 64, 64, 32] uint8
    largest: Tensor  # [num_tiles, in_features / 64, 64] float32, the largest absolute weight of each group
    levels: Tensor  # [16] float32
    out_features: int

    @classmethod
    def of(cls, weight: Tensor) -> "Nf4Weight":
        """Round each weight to the nearest level of its group; in_features is a multiple of 64."""
        out_features, in_features = weight.shape
        num_tiles, num_groups = -(-out_features // _TILE_ROWS), in_features // NF4_GROUP
        packed = torch.empty(num_tiles, num_groups, _TILE_ROWS, NF4_GROUP // 2, dtype=torch.uint8, device=weight.device)
        largest = torch.empty(num_tiles, num_groups, _TILE_ROWS, device=weight.device)
        levels = torch.tensor(NF4_LEVELS, device=weight.device)
        tiles_at_once = max(1, _WEIGHTS_AT_ONCE // (_TILE_ROWS * in_features))
        for first in range(0, num_tiles, tiles_at_once):
            tiles = slice(first, min(first + tiles_at_once, num_tiles))
            rows = weight[first * _TILE_ROWS : tiles.stop * _TILE_ROWS].float()
            rows = F.pad(rows, (0, 0, 0, (tiles.stop - first) * _TILE_ROWS - len(rows)))
            nearest = Nf4Codes.of(rows.view(-1, num_groups, NF4_GROUP), levels)
            packed[tiles] = _packed(nearest.codes).view(-1, _TILE_ROWS, num_groups, NF4_GROUP // 2).transpose(1, 2)
            largest[tiles] = nearest.largest.view(-1, _TILE_ROWS, num_groups).transpose(1, 2)
        return cls(packed, largest, levels, out_features)

    def dense(self, dtype: torch.dtype) -> Tensor:
        """`[out_features, in_features]` as products of many tokens see it."""
        num_tiles, num_groups = self.packed.shape[:2]
        out = torch.empty(self.out_features, num_groups * NF4_GROUP, dtype=dtype, device=self.packed.device)
        nf4_unpack_kernel[num_groups, num_tiles](
            out, self.packed, self.largest, self.levels, self.out_features, num_groups, TILE_ROWS=_TILE_ROWS
        )
        return out


def _packed(codes: Tensor) -> Tensor:
    """`[num_rows, num_groups, 32]` of `[num_rows, num_groups, 64]`."""
    return codes[..., : NF4_GROUP // 2] | codes[..., NF4_GROUP // 2 :] << 4


@dataclass(frozen=True, slots=True)
class Nf4Linear:
    """Implements `layers.linear.Linear`."""

    weight: Nf4Weight
    bias: Tensor | None
    dtype: torch.dtype  # of activations

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None) -> "Nf4Linear":
        return cls(Nf4Weight.of(weight), bias, weight.dtype)

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        if 0 < len(x) <= MAX_FUSED_TOKENS:
            return self._multiply_few(x, residual)
        out = F.linear(x, self.weight.dense(self.dtype), self.bias)
        return out if residual is None else out.add_(residual)

    def _multiply_few(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """Splits along the columns fill the device; their sums are added in a fixed order, so results repeat."""
        weight, num_tokens = self.weight, len(x)
        num_tiles, num_groups = weight.packed.shape[:2]
        unroll = 2 if num_groups % 2 == 0 else 1
        num_splits = max(1, min(-(-_PROGRAMS_WANTED // num_tiles), num_groups // _MIN_GROUPS_PER_SPLIT))
        groups_per_split = -(-num_groups // num_splits)
        groups_per_split += groups_per_split % unroll
        num_splits = -(-num_groups // groups_per_split)
        parts = torch.empty(num_splits, num_tokens, weight.out_features, dtype=torch.float32, device=x.device)
        nf4_product_kernel[num_tiles, num_splits](
            parts,
            x.contiguous(),
            weight.packed,
            weight.largest,
            weight.levels,
            num_tokens,
            weight.out_features,
            num_groups,
            groups_per_split,
            BLOCK_M=16,
            TILE_ROWS=_TILE_ROWS,
            UNROLL=unroll,
            STAGES=3,
            ASM=_ASM.get(x.dtype),
            PRECISION="ieee" if x.dtype == torch.float32 else "tf32",
            num_warps=2,
        )
        out = torch.empty(num_tokens, weight.out_features, dtype=self.dtype, device=x.device)
        sum_parts_kernel[(-(-out.numel() // _SUM_BLOCK),)](
            out,
            parts,
            self.bias,
            None if residual is None else residual.contiguous(),
            out.numel(),
            weight.out_features,
            NUM_PARTS=num_splits,
            BLOCK=_SUM_BLOCK,
            HAS_BIAS=self.bias is not None,
            HAS_RESIDUAL=residual is not None,
        )
        return out
