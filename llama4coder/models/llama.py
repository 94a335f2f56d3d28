"""The Llama forward pass, written once: no parallel code, no cache policy, no sampling, no kernels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from llama4coder.attention.backend import AttentionBackend, StepAttention
from llama4coder.kv.tensors import LayerKV
from llama4coder.layers.linear import Head, Linear
from llama4coder.layers.norm import Norm
from llama4coder.layers.rope import RopeTable, Rotation


class Layer(Protocol):
    """Takes and returns the residual stream `[num_tokens, hidden_size]`; writes keys and values to `kv`."""

    def __call__(self, x: Tensor, rotation: Rotation, kv: LayerKV, attention: StepAttention) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class DecoderLayer:
    """Attention and SwiGLU MLP, each normalised before and added to the residual stream."""

    attention_norm: Norm
    qkv: Linear  # the three projections in one matrix
    attention_out: Linear
    mlp_norm: Norm
    gate_up: Linear  # both projections in one matrix
    swiglu: Callable[[Tensor], Tensor]
    down: Linear

    def __call__(self, x: Tensor, rotation: Rotation, kv: LayerKV, attention: StepAttention) -> Tensor:
        attended = attention(self.qkv(self.attention_norm(x)), rotation, kv)
        x = self.attention_out(attended, residual=x)
        return self.down(self.swiglu(self.gate_up(self.mlp_norm(x))), residual=x)


@dataclass(frozen=True, slots=True)
class Llama:
    """A decoder of the Llama family."""

    embedding: Callable[[Tensor], Tensor]  # token ids to [num_tokens, hidden_size]
    layers: tuple[Layer, ...]
    norm: Norm
    head: Head
    rope: RopeTable
    attention: AttentionBackend
    unrotated: frozenset[int] = frozenset()
    """Layers whose queries and keys know no positions: https://arxiv.org/abs/2501.18795."""

    def forward(self, token_ids: Tensor, positions: Tensor, kv: Sequence[LayerKV], attention: StepAttention) -> Tensor:
        """Hidden states `[num_tokens, hidden_size]` of a step's tokens; writes their keys and values to `kv`."""
        x = self.embedding(token_ids)
        for layer, rotation, layer_kv in zip(self.layers, self._rotations(positions), kv, strict=True):
            x = layer(x, rotation, layer_kv, attention)
        return x

    def _rotations(self, positions: Tensor) -> Sequence[Rotation]:
        """One for each layer, of which a step computes two at most."""
        rotation = self.rope.at(positions)
        still = rotation.none if self.unrotated else rotation
        return [still if index in self.unrotated else rotation for index in range(len(self.layers))]

    def logits(self, hidden: Tensor) -> Tensor:
        """Float32 logits `[num_rows, vocab_size]` of the rows that need them."""
        return self.head.wide(self.norm(hidden))
