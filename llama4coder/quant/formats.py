"""What the stored integers mean; every kernel computes with these, whatever order it keeps them in."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from llama4coder.kv.sizing import INT4_GROUP


class QuantisedWeights(Protocol):
    """A matrix `[out_features, in_features]` in few bits."""

    def dequantise(self) -> Tensor:
        """What the integers stand for, in float32."""
        ...

    def rows(self, indices: Tensor) -> "QuantisedWeights":
        """The rows of these indices."""
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

    def dequantise(self) -> Tensor:
        """See `QuantisedWeights`."""
        return self.values.float() * self.scales[:, None]

    def rows(self, indices: Tensor) -> "Int8Weights":
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

    def values(self) -> Tensor:
        """uint8 `[out_features, in_features]`."""
        return torch.stack((self.nibbles & 15, self.nibbles >> 4), dim=2).flatten(1)

    def dequantise(self) -> Tensor:
        """See `QuantisedWeights`."""
        groups = self.values().float().reshape(*self.steps.shape, INT4_GROUP)
        return (groups * self.steps.float()[..., None] + self.lows.float()[..., None]).flatten(1)

    def rows(self, indices: Tensor) -> "Int4Weights":
        """See `QuantisedWeights`."""
        return Int4Weights(self.nibbles[indices], self.steps[indices], self.lows[indices])
