"""Quantised weights where no kernels of our own can run: the same numbers, without the speed."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from llama4coder.config import KVFormat, QuantFormat
from llama4coder.layers.kernels import TorchKernels
from llama4coder.layers.linear import Head, Linear
from llama4coder.quant.formats import Int4Weights, Int8Weights, QuantisedWeights


@dataclass(frozen=True, slots=True)
class DequantisingLinear:
    """Implements `layers.linear.Linear` in float32, with weights that are widened at each call."""

    weights: QuantisedWeights
    bias: Tensor | None
    dtype: torch.dtype  # the model's

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        product = self.wide(x)
        return (product if residual is None else residual.float() + product).to(x.dtype)

    def wide(self, x: Tensor) -> Tensor:
        return F.linear(x.float(), self.weights.dequantise(), None if self.bias is None else self.bias.float())

    def rows(self, indices: Tensor) -> Tensor:
        return self.weights.rows(indices).dequantise().to(self.dtype)


class QuantisedTorchKernels(TorchKernels):
    """Torch's own kernels for everything but the products."""

    def __init__(self, quant: QuantFormat, kv_format: KVFormat = "dense") -> None:
        super().__init__(kv_format)
        self._quant = quant

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> Linear:
        """See `Kernels.linear`."""
        weights = Int4Weights.of(weight) if self._quant == "int4" else Int8Weights.of(weight)
        return DequantisingLinear(weights, bias, weight.dtype)

    def head(self, weight: Tensor) -> Head:
        """See `Kernels.head`."""
        return DequantisingLinear(Int8Weights.of(weight), None, weight.dtype)
