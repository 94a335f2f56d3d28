"""Quantised weights where no kernels of our own can run: the same numbers, without the speed."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from llama4coder.config import KVFormat, QuantFormat
from llama4coder.kv.sizing import covers
from llama4coder.kv.step_sizing import WIDENED_WEIGHTS
from llama4coder.layers.kernels import TorchKernels
from llama4coder.layers.linear import Head, Linear
from llama4coder.quant.formats import Fp8Weights, Int4Weights, Int8Weights, Nf4Weights, QuantisedWeights
from llama4coder.shape import MatrixShape


@dataclass(frozen=True, slots=True)
class DequantisingLinear:
    """Implements `layers.linear.Linear` and `Head` in float32, with weights that are widened a few rows at a time.

    FP8 weights meet activations that are rounded to FP8 as well, each token by its own largest value.
    """

    weights: QuantisedWeights
    bias: Tensor | None
    dtype: torch.dtype  # the model's

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        product = self.wide(x)
        return (product if residual is None else product.add_(residual)).to(x.dtype)

    def wide(self, x: Tensor) -> Tensor:
        tokens = Fp8Weights.of(x).dequantise() if isinstance(self.weights, Fp8Weights) else x.float()
        product = torch.empty(len(x), self.weights.size.out_features, dtype=torch.float32, device=x.device)
        for rows in self._row_slices():
            product[:, rows] = tokens @ self.weights.rows(rows).dequantise().t()
        return product if self.bias is None else product.add_(self.bias)

    def rows(self, indices: Tensor) -> Tensor:
        return self.weights.rows(indices).dequantise().to(self.dtype)

    def _row_slices(self) -> Iterator[slice]:
        step = max(1, WIDENED_WEIGHTS // self.weights.size.in_features)
        return (slice(first, first + step) for first in range(0, self.weights.size.out_features, step))


def quantise(quant: QuantFormat, weight: Tensor) -> QuantisedWeights | None:
    """None where the format does not cover a matrix of this size."""
    return _KINDS[quant](weight) if covers(quant, MatrixShape(*weight.shape)) else None


def quantise_head(quant: QuantFormat, weight: Tensor) -> QuantisedWeights | None:
    """In 8 bits, or None where it stays in the model's dtype, as NF4 leaves it."""
    if quant == "nf4":
        return None
    return quantise("fp8" if quant == "fp8" else "int8", weight)


_KINDS: Mapping[QuantFormat, Callable[[Tensor], QuantisedWeights]] = {
    "int8": Int8Weights.of,
    "int4": Int4Weights.of,
    "fp8": Fp8Weights.of,
    "nf4": Nf4Weights.of,
}


class QuantisedTorchKernels(TorchKernels):
    """Torch's own kernels for everything but the products."""

    def __init__(self, quant: QuantFormat, kv_format: KVFormat = "dense") -> None:
        super().__init__(kv_format)
        self._quant = quant

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> Linear:
        """See `Kernels.linear`."""
        weights = quantise(self._quant, weight)
        return self.dense(weight, bias) if weights is None else DequantisingLinear(weights, bias, weight.dtype)

    def head(self, weight: Tensor) -> Head:
        """See `Kernels.head`."""
        weights = quantise_head(self._quant, weight)
        return self.dense(weight) if weights is None else DequantisingLinear(weights, None, weight.dtype)
