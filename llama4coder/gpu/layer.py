"""A decoder layer in FP8 whose activations are rounded by the kernels that make them."""

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from llama4coder.attention.backend import StepAttention
from llama4coder.gpu.fp8 import Fp8Linear, quantise
from llama4coder.gpu.norm import GpuNorm
from llama4coder.gpu.swiglu import quantised_swiglu
from llama4coder.kv.tensors import LayerKV
from llama4coder.layers.rope import Rotation
from llama4coder.models.llama import DecoderLayer


@dataclass(frozen=True, slots=True)
class Fp8Layer:
    """Implements `models.llama.Layer`."""

    attention_norm: GpuNorm
    qkv: Fp8Linear
    attention_out: Fp8Linear
    mlp_norm: GpuNorm
    gate_up: Fp8Linear
    down: Fp8Linear

    @classmethod
    def of(cls, layer: DecoderLayer) -> Self | None:
        """The same layer, if all of it is in FP8."""
        match layer:
            case DecoderLayer(
                attention_norm=GpuNorm() as attention_norm,
                qkv=Fp8Linear() as qkv,
                attention_out=Fp8Linear() as attention_out,
                mlp_norm=GpuNorm() as mlp_norm,
                gate_up=Fp8Linear() as gate_up,
                down=Fp8Linear() as down,
            ):
                return cls(attention_norm, qkv, attention_out, mlp_norm, gate_up, down)
        return None

    def __call__(self, x: Tensor, rotation: Rotation, kv: LayerKV, attention: StepAttention) -> Tensor:
        attended = attention(self.qkv.multiply(self.attention_norm.quantised(x)), rotation, kv)
        middle = self.mlp_norm.quantised_sum(x, self.attention_out.multiply(quantise(attended)))
        gated = quantised_swiglu(self.gate_up.multiply(middle.normed))
        return self.down.multiply(gated, residual=middle.sum)
