"""NF4: weights in 4 bits, as quantiles of a normal distribution within groups of 64 (arXiv 2305.14314)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from llama4coder.gpu.nf4_kernels import nf4_product_kernel, nf4_unpack_kernel, sum_parts_kernel
from llama4coder.kv.sizing import NF4_GROUP

MAX_FUSED_TOKENS = 16  # beyond, unpacking the weight for a dense product is the smaller cost

# The levels that the paper's authors published: quantiles of the normal distribution, scaled to [-1, 1].
LEVELS = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
_BLOCK_ROWS = 64  # of the weight: the fewest that fill Hopper's tensor cores
_GROUPS_AT_ONCE = 4  # 128 bytes of each row: one line of the cache
_PROGRAMS_WANTED = 528  # four for each multiprocessor of a large GPU
_MIN_GROUPS_PER_SPLIT = 8
_WEIGHTS_AT_ONCE = 2**26  # whose float32 copy is held while they are rounded
_UNPACK_GROUPS = 32
_SUM_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Nf4Weight:
    """A matrix `[out_features, in_features]` in 4 bits; byte j of a group holds its weights j (low half) and j + 32."""

    packed: Tensor  # [out_features, in_features / 64, 32] uint8
    largest: Tensor  # [out_features, in_features / 64] float32, the largest absolute weight of each group
    levels: Tensor  # [16] float16: two bytes each, which the compiler leaves in the cache instead of staging a copy

    @classmethod
    def of(cls, weight: Tensor) -> "Nf4Weight":
        """Round each weight to the nearest level of its group; in_features is a multiple of 64."""
        levels = torch.tensor(LEVELS, device=weight.device)
        midpoints = (levels[1:] + levels[:-1]) / 2
        packed, largest = [], []
        rows_at_once = max(1, _WEIGHTS_AT_ONCE // weight.shape[1])
        for first in range(0, len(weight), rows_at_once):
            groups = weight[first : first + rows_at_once].float().view(-1, weight.shape[1] // NF4_GROUP, NF4_GROUP)
            scale = groups.abs().amax(dim=2)
            codes = torch.bucketize(groups / torch.where(scale > 0, scale, 1.0)[..., None], midpoints).to(torch.uint8)
            packed.append(codes[..., : NF4_GROUP // 2] | codes[..., NF4_GROUP // 2 :] << 4)
            largest.append(scale)
        return cls(torch.cat(packed), torch.cat(largest), levels.half())

    @property
    def out_features(self) -> int:
        return len(self.packed)

    def dense(self, dtype: torch.dtype) -> Tensor:
        """`[out_features, in_features]` as products see it."""
        num_groups = self.largest.numel()
        out = torch.empty(num_groups, NF4_GROUP, dtype=dtype, device=self.packed.device)
        grid = (-(-num_groups // _UNPACK_GROUPS),)
        nf4_unpack_kernel[grid](out, self.packed, self.largest, self.levels, num_groups, BLOCK=_UNPACK_GROUPS)
        return out.view(self.out_features, -1)

    def rows(self, indices: Tensor) -> "Nf4Weight":
        return Nf4Weight(self.packed[indices], self.largest[indices], self.levels)


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
            out = torch.empty(len(x), self.weight.out_features, dtype=self.dtype, device=x.device)
            return self._multiply_few(x, residual, out)
        out = F.linear(x, self.weight.dense(self.dtype), self.bias)
        return out if residual is None else out.add_(residual)

    def wide(self, x: Tensor) -> Tensor:
        """See `Head.wide`."""
        if 0 < len(x) <= MAX_FUSED_TOKENS:
            return self._multiply_few(x, None, torch.empty(len(x), self.weight.out_features, device=x.device))
        return self(x).float()

    def rows(self, indices: Tensor) -> Tensor:
        """See `Head.rows`."""
        return self.weight.rows(indices).dense(self.dtype)

    def _multiply_few(self, x: Tensor, residual: Tensor | None, out: Tensor) -> Tensor:
        """Splits along the columns fill the device; their sums are added in a fixed order, so results repeat."""
        num_tokens, num_rows = out.shape
        num_groups = self.weight.packed.shape[1]
        num_blocks = -(-num_rows // _BLOCK_ROWS)
        num_splits = max(1, min(-(-_PROGRAMS_WANTED // num_blocks), num_groups // _MIN_GROUPS_PER_SPLIT))
        groups_per_split = -(-num_groups // num_splits)
        groups_per_split += -groups_per_split % _GROUPS_AT_ONCE
        num_splits = -(-num_groups // groups_per_split)
        parts = torch.empty(num_splits, num_tokens, num_rows, dtype=torch.float32, device=x.device)
        nf4_product_kernel[num_blocks, num_splits](
            parts,
            x.contiguous(),
            self.weight.packed,
            self.weight.largest,
            self.weight.levels,
            num_tokens,
            num_rows,
            num_groups,
            groups_per_split,
            BLOCK_M=16,
            BLOCK_N=_BLOCK_ROWS,
            UNROLL=_GROUPS_AT_ONCE,
            PRECISION="ieee" if x.dtype == torch.float32 else "tf32",
            num_warps=4,
            num_stages=4,
        )
        sum_parts_kernel[(-(-out.numel() // _SUM_BLOCK),)](
            out,
            parts,
            self.bias,
            None if residual is None else residual.contiguous(),
            out.numel(),
            num_rows,
            NUM_PARTS=num_splits,
            BLOCK=_SUM_BLOCK,
            HAS_BIAS=self.bias is not None,
            HAS_RESIDUAL=residual is not None,
        )
        return out
