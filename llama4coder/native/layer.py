"""A decoder layer as one call into the native kernels."""

import ctypes
from dataclasses import dataclass, field

import torch
from torch import Tensor

from llama4coder.attention.backend import StepAttention
from llama4coder.kv.tensors import LayerKV
from llama4coder.layers.rope import Rotation
from llama4coder.models.llama import DecoderLayer
from llama4coder.native.attention import NativeStepAttention
from llama4coder.native.kv import pointers_to
from llama4coder.native.linear import NativeLinear
from llama4coder.native.norm import NativeNorm


class _Layer(ctypes.Structure):
    """`layer` of layer.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("attention_norm", "mlp_norm")),
        *((name, ctypes.c_void_p) for name in ("qkv", "attention_out", "gate_up", "down")),
        *((name, ctypes.c_float) for name in ("attention_eps", "mlp_eps")),
    ]


class _LayerArgs(ctypes.Structure):
    """`layer_args` of layer.c."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("layer", "step", "x", "cosine", "sine", "kv", "scratch", "out")]


@dataclass(slots=True)
class Scratch:
    """Memory that the layers of one model use in turn, in one thread; as large as the largest step so far."""

    memory: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.bfloat16))

    def of(self, size: int) -> Tensor:
        """At least so many numbers, of any value."""
        if len(self.memory) < size:
            self.memory = torch.empty(size, dtype=torch.bfloat16)
        return self.memory


@dataclass(frozen=True, slots=True)
class FusedLayer:
    """Computes what `parts` compute, bit by bit."""

    library: ctypes.CDLL
    parts: DecoderLayer
    weights: _Layer  # points into `parts`
    scratch: Scratch

    @classmethod
    def of(cls, library: ctypes.CDLL, parts: DecoderLayer, scratch: Scratch) -> "FusedLayer | None":
        """None where a part is not native, or of a size that the native SwiGLU does not cover."""
        norms = [norm for norm in (parts.attention_norm, parts.mlp_norm) if isinstance(norm, NativeNorm)]
        linears = (parts.qkv, parts.attention_out, parts.gate_up, parts.down)
        packed = [linear for linear in linears if isinstance(linear, NativeLinear)]
        if len(norms) < 2 or len(packed) < 4 or packed[-1].matrix.k % 16:
            return None
        weights = _Layer(
            *(norm.weight.data_ptr() for norm in norms),
            *(ctypes.addressof(linear.matrix) for linear in packed),
            *(norm.eps for norm in norms),
        )
        return cls(library, parts, weights, scratch)

    def __call__(self, x: Tensor, rotation: Rotation, kv: LayerKV, attention: StepAttention) -> Tensor:
        """See `DecoderLayer`; attention of other kernels is called between the parts."""
        if not isinstance(attention, NativeStepAttention):
            return self.parts(x, rotation, kv, attention)
        x = x.contiguous()
        out = torch.empty_like(x)
        layer, step = ctypes.addressof(self.weights), ctypes.addressof(attention.step)
        scratch = self.scratch.of(len(x) * self._numbers_per_token(attention))
        pool = pointers_to(kv)
        before = (tensor.data_ptr() for tensor in (x, rotation.cos, rotation.sin))
        args = _LayerArgs(layer, step, *before, ctypes.addressof(pool), scratch.data_ptr(), out.data_ptr())
        self.library.l4c_decoder_layer(ctypes.byref(args))
        return out

    def _numbers_per_token(self, attention: NativeStepAttention) -> int:
        number: int = self.library.l4c_layer_scratch(ctypes.byref(self.weights), ctypes.byref(attention.step))
        return number
