"""What the stored integers mean; every kernel computes with these, whatever order it keeps them in."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from llama4coder.kv.sizing import INT4_GROUP, NF4_GROUP
from llama4coder.shape import MatrixShape

_LARGEST_FP8 = 448.0  # of e4m3
_WEIGHTS_AT_ONCE = 2**22  # whose float32 copy is held while they are rounded

# The levels that the authors of arXiv 2305.14314 published: quantiles of the normal distribution, scaled to [-1, 1].
NF4_LEVELS = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)


class QuantisedWeights(Protocol):
    """A matrix `[out_features, in_features]` in few bits."""

    @property
    def size(self) -> MatrixShape: ...

    def dequantise(self) -> Tensor:
        """What the integers stand for, in float32."""
        ...

    def rows(self, indices: Tensor | slice) -> "QuantisedWeights":
        """The rows of these indices, or a view of those of a slice."""
        ...


@dataclass(frozen=True, slots=True)
class Int8Weights:
    """weight = value * scale; -127 to 127, one scale per row."""

    values: Tensor  # int8 [out_features, in_features]
    scales: Tensor  # float32 [out_features]

    @classmethod
    def of(cls, weight: Tensor) -> "Int8Weights":
        """The nearest integers; the largest of a row is 127 or -127."""
        wide = weight.float()
        scales = wide.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny * 127) / 127
        return cls((wide / scales[:, None]).round().to(torch.int8), scales)

    @property
    def size(self) -> MatrixShape:
        """See `QuantisedWeights`."""
        return MatrixShape(*self.values.shape)

    def dequantise(self) -> Tensor:
        """See `QuantisedWeights`."""
        return self.values.float().mul_(self.scales[:, None])

    def rows(self, indices: Tensor | slice) -> "Int8Weights":
        """See `QuantisedWeights`."""
        return Int8Weights(self.values[indices], self.scales[indices])


@dataclass(frozen=True, slots=True)
class Int4Weights:
    """weight = value * step + low; 0 to 15, a step and a low per row and group of 32 inputs: 5 bits per weight."""

    nibbles: Tensor  # uint8 [out_features, in_features / 2], the even input in the low half
    steps: Tensor  # bfloat16 [out_features, in_features / 32]
    lows: Tensor  # the same

    @classmethod
    def of(cls, weight: Tensor) -> "Int4Weights":
        """The nearest of 16 values between each group's lowest and highest; in_features is a multiple of 32."""
        groups = weight.float().reshape(len(weight), -1, INT4_GROUP)
        lows = groups.amin(dim=2).bfloat16()
        steps = ((groups.amax(dim=2) - lows.float()) / 15).clamp(min=torch.finfo(torch.bfloat16).tiny).bfloat16()
        values = ((groups - lows.float()[..., None]) / steps.float()[..., None]).round().clamp(0, 15)
        values = values.to(torch.uint8).flatten(1)
        return cls(values[:, 0::2] | values[:, 1::2] << 4, steps, lows)

    @property
    def size(self) -> MatrixShape:
        """See `QuantisedWeights`."""
        return MatrixShape(len(self.nibbles), 2 * self.nibbles.shape[1])

    def values(self) -> Tensor:
        """uint8 `[out_features, in_features]`."""
        return torch.stack((self.nibbles & 15, self.nibbles >> 4), dim=2).flatten(1)

    def dequantise(self) -> Tensor:
        """See `QuantisedWeights`."""
        groups = self.values().float().reshape(*self.steps.shape, INT4_GROUP)
        return (groups * self.steps.float()[..., None] + self.lows.float()[..., None]).flatten(1)

    def rows(self, indices: Tensor | slice) -> "Int4Weights":
        """See `QuantisedWeights`."""
        return Int4Weights(self.nibbles[indices], self.steps[indices], self.lows[indices])


@dataclass(frozen=True, slots=True)
class Fp8Weights:
    """weight = value * scale in FP8 (e4m3), with one scale per row; activations are rounded in the same way."""

    values: Tensor  # float8_e4m3fn [out_features, in_features]
    scales: Tensor  # float32 [out_features]

    @classmethod
    def of(cls, weight: Tensor) -> "Fp8Weights":
        """The nearest values; the largest of a row is 448 or -448, and a row of zeros has scale 1."""
        values = torch.empty_like(weight, dtype=torch.float8_e4m3fn)
        scales = torch.empty(len(weight), dtype=torch.float32, device=weight.device)
        limit = torch.tensor(_LARGEST_FP8, device=weight.device)  # a GPU multiplies instead of dividing by a number
        for rows in _row_slices(weight):
            wide = weight[rows].float()
            largest = wide.abs().amax(dim=1)
            scales[rows] = torch.where(largest > 0, largest / limit, 1.0)
            values[rows] = (wide / scales[rows, None]).to(values.dtype)
        return cls(values, scales)

    @property
    def size(self) -> MatrixShape:
        """See `QuantisedWeights`."""
        return MatrixShape(*self.values.shape)

    def dequantise(self) -> Tensor:
        """See `QuantisedWeights`."""
        return self.values.float().mul_(self.scales[:, None])

    def rows(self, indices: Tensor | slice) -> "Fp8Weights":
        """See `QuantisedWeights`."""
        # Bytes: torch does not index every kind of float8 tensor.
        picked = self.values.view(torch.uint8)[indices].view(torch.float8_e4m3fn)
        return Fp8Weights(picked, self.scales[indices])


@dataclass(frozen=True, slots=True)
class Nf4Codes:
    """The nearest levels of groups `[..., 64]`, and the scales that give them back."""

    codes: Tensor  # uint8 [..., 64]
    largest: Tensor  # float32 [...], the largest absolute weight

    @classmethod
    def of(cls, groups: Tensor, levels: Tensor) -> "Nf4Codes":
        """Of float32."""
        midpoints = (levels[1:] + levels[:-1]) / 2
        largest = groups.abs().amax(dim=-1)
        scaled = groups / torch.where(largest > 0, largest, 1.0)[..., None]
        return cls(torch.bucketize(scaled, midpoints).to(torch.uint8), largest)


@dataclass(frozen=True, slots=True)
class Nf4Weights:
    """weight = level * largest; 16 levels, the largest absolute weight of a row's every 64 inputs: 4.5 bits per weight.

    The order in memory is that of bitsandbytes: the even input in the high half of a byte.
    """

    nibbles: Tensor  # uint8 [out_features, in_features / 2]
    largest: Tensor  # float32 [out_features, in_features / 64]

    @classmethod
    def of(cls, weight: Tensor) -> "Nf4Weights":
        """The nearest levels; in_features is a multiple of 64."""
        out_features, in_features = weight.shape
        nibbles = torch.empty(out_features, in_features // 2, dtype=torch.uint8, device=weight.device)
        largest = torch.empty(out_features, in_features // NF4_GROUP, device=weight.device)
        levels = torch.tensor(NF4_LEVELS, device=weight.device)
        for rows in _row_slices(weight):
            nearest = Nf4Codes.of(weight[rows].float().view(-1, in_features // NF4_GROUP, NF4_GROUP), levels)
            codes = nearest.codes.flatten(1)
            nibbles[rows] = codes[:, 0::2] << 4 | codes[:, 1::2]
            largest[rows] = nearest.largest
        return cls(nibbles, largest)

    @property
    def size(self) -> MatrixShape:
        """See `QuantisedWeights`."""
        return MatrixShape(len(self.nibbles), 2 * self.nibbles.shape[1])

    def dequantise(self) -> Tensor:
        """See `QuantisedWeights`."""
        levels = levels_of(self.nibbles, torch.tensor(NF4_LEVELS, device=self.nibbles.device))
        return levels.view(*self.largest.shape, NF4_GROUP).mul_(self.largest[..., None]).flatten(1)

    def rows(self, indices: Tensor | slice) -> "Nf4Weights":
        """See `QuantisedWeights`."""
        return Nf4Weights(self.nibbles[indices], self.largest[indices])


def levels_of(packed: Tensor, levels: Tensor) -> Tensor:
    """What bytes `[num_rows, width]` of two codes each stand for, the high half first: `[num_rows, 2 * width]`."""
    of_byte = torch.stack((levels.repeat_interleave(16), levels.repeat(16)), dim=1)
    # Both at once, as 64 bits: a CPU looks up single numbers seven times as fast as rows.
    pairs = of_byte.view(torch.int64).flatten().index_select(0, packed.flatten().int())
    return pairs.view(torch.float32).view(len(packed), 2 * packed.shape[1])


def _row_slices(weight: Tensor) -> Iterator[slice]:
    step = max(1, _WEIGHTS_AT_ONCE // max(1, weight.shape[1]))
    return (slice(first, first + step) for first in range(0, len(weight), step))
