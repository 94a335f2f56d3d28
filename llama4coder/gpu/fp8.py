"""FP8 (e4m3): weights with a scale per output channel, activations with a scale per token."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from llama4coder.gpu.fp8_kernels import quantise_kernel
from llama4coder.gpu.tiles import next_power_of_two, warps_for
from llama4coder.quant.formats import Fp8Weights


@dataclass(frozen=True, slots=True)
class QuantisedTokens:
    """Activations in FP8: token i is `values[i] * scales[i]`."""

    values: Tensor  # [num_tokens, width] float8_e4m3fn
    scales: Tensor  # [num_tokens, 1] float32

    @classmethod
    def empty(cls, num_tokens: int, width: int, device: torch.device) -> "QuantisedTokens":
        return cls(
            torch.empty(num_tokens, width, dtype=torch.float8_e4m3fn, device=device),
            torch.empty(num_tokens, 1, dtype=torch.float32, device=device),
        )

    @classmethod
    def empty_like(cls, x: Tensor) -> "QuantisedTokens":
        num_tokens, width = x.shape
        return cls.empty(num_tokens, width, x.device)


def quantise(x: Tensor) -> QuantisedTokens:
    """Round `[num_tokens, width]`, each token by its own largest value."""
    out = QuantisedTokens.empty_like(x)
    block = next_power_of_two(x.shape[1])
    if len(x):
        quantise_kernel[(len(x),)](
            out.values, out.scales, x.contiguous(), WIDTH=x.shape[1], BLOCK=block, num_warps=warps_for(block)
        )
    return out


# Tokens, weight, its scales `[1, out_features]` and the dtype of the result, which is `[num_tokens, out_features]`.
ScaledProduct = Callable[[QuantisedTokens, Tensor, Tensor, torch.dtype], Tensor]


def tensor_core_product(x: QuantisedTokens, weight: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """The product of GPUs that multiply FP8; the row-wise kernels give bfloat16 alone on some CUDA versions."""
    product: Tensor = torch._scaled_mm(
        x.values, weight.t(), scale_a=x.scales, scale_b=scales, out_dtype=torch.bfloat16, use_fast_accum=True
    )
    return product.to(dtype)


def emulated_product(x: QuantisedTokens, weight: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """The same numbers on any device, in float32 and slowly."""
    return ((x.values.float() @ weight.float().t()) * x.scales * scales).to(dtype)


def product_for(device: torch.device) -> ScaledProduct:
    """The fastest that this device computes."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 9):
        return tensor_core_product
    return emulated_product


@dataclass(frozen=True, slots=True)
class Fp8Linear:
    """Implements `layers.linear.Linear`."""

    weight: Tensor  # [out_features, in_features] float8_e4m3fn
    scales: Tensor  # [1, out_features] float32
    bias: Tensor | None
    dtype: torch.dtype  # of activations
    product: ScaledProduct

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None) -> "Fp8Linear":
        """Round `[out_features, in_features]`, both multiples of 16."""
        rounded = Fp8Weights.of(weight)
        return cls(rounded.values, rounded.scales[None], bias, weight.dtype, product_for(weight.device))

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        return self.multiply(quantise(x), residual)

    def multiply(self, x: QuantisedTokens, residual: Tensor | None = None) -> Tensor:
        """The same for activations that are rounded already."""
        out = self.product(x, self.weight, self.scales, self.dtype)
        for addend in (self.bias, residual):
            if addend is not None:
                out.add_(addend)
        return out

    def wide(self, x: Tensor) -> Tensor:
        """See `Head.wide`."""
        return self(x).float()

    def rows(self, indices: Tensor) -> Tensor:
        """See `Head.rows`."""
        return Fp8Weights(self.weight, self.scales[0]).rows(indices).dequantise().to(self.dtype)
