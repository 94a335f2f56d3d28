"""What a quantised model must compute: torch's kernels on the very same rounded weights and activations."""

from dataclasses import replace

from torch import Tensor

from llama4coder.config import KVFormat
from llama4coder.gpu.fp8 import Fp8Linear, emulated_product
from llama4coder.gpu.kernels import GpuQuant
from llama4coder.gpu.nf4 import Nf4Weight
from llama4coder.layers.kernels import TorchKernels
from llama4coder.layers.linear import DenseLinear, Head


class RoundedKernels(TorchKernels):
    """Implements `layers.kernels.Kernels` without tensor cores for FP8, fused layers, or products of packed weights."""

    def __init__(self, quant: GpuQuant, kv_format: KVFormat = "dense") -> None:
        super().__init__(kv_format)
        self._quant = quant

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> Fp8Linear | DenseLinear:
        """See `Kernels.linear`."""
        if self._quant is GpuQuant.FP8:
            return replace(Fp8Linear.of(weight, bias), product=emulated_product)
        return DenseLinear(Nf4Weight.of(weight).dense(weight.dtype), bias)

    def head(self, weight: Tensor) -> Head:
        """See `Kernels.head`."""
        return self.linear(weight) if self._quant is GpuQuant.FP8 else DenseLinear(weight)
