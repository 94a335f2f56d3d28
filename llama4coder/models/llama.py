"""The Llama forward pass, written once: no parallel code, no cache policy, no sampling."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from llama4coder.attention.backend import AttentionBackend
from llama4coder.attention.batch import AttentionBatch
from llama4coder.kv.tensors import LayerKV
from llama4coder.layers.linear import Linear
from llama4coder.layers.norm import RMSNorm
from llama4coder.layers.rope import RopeTable, Rotation


@dataclass(frozen=True, slots=True)
class SelfAttention:
    """Grouped-query attention; `qkv` holds the three projections in one matrix."""

    qkv: Linear
    out: Linear
    num_heads: int
    num_kv_heads: int
    head_dim: int
    backend: AttentionBackend

    def __call__(self, x: Tensor, rotation: Rotation, kv: LayerKV, batch: AttentionBatch) -> Tensor:
        heads = self.qkv(x).view(len(x), -1, self.head_dim)
        end_of_keys = self.num_heads + self.num_kv_heads
        queries, keys, values = (
            heads[:, : self.num_heads],
            heads[:, self.num_heads : end_of_keys],
            heads[:, end_of_keys:],
        )
        kv.write(batch.slots, rotation(keys), values)
        attended = self.backend(rotation(queries), kv, batch)
        return self.out(attended.reshape(len(x), -1))


@dataclass(frozen=True, slots=True)
class MLP:
    """SwiGLU; `gate_up` holds both projections in one matrix."""

    gate_up: Linear
    down: Linear

    def __call__(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


@dataclass(frozen=True, slots=True)
class DecoderLayer:
    """Attention and MLP, each normalised before and added to the residual stream."""

    attention_norm: RMSNorm
    attention: SelfAttention
    mlp_norm: RMSNorm
    mlp: MLP

    def __call__(self, x: Tensor, rotation: Rotation, kv: LayerKV, batch: AttentionBatch) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rotation, kv, batch)
        return x + self.mlp(self.mlp_norm(x))


@dataclass(frozen=True, slots=True)
class Llama:
    """A decoder of the Llama family."""

    embedding: Tensor  # [vocab_size, hidden_size]
    layers: tuple[DecoderLayer, ...]
    norm: RMSNorm
    head: Linear
    rope: RopeTable

    def forward(self, token_ids: Tensor, positions: Tensor, kv: list[LayerKV], batch: AttentionBatch) -> Tensor:
        """Hidden states `[num_tokens, hidden_size]` of a step's tokens; writes their keys and values to `kv`."""
        x = F.embedding(token_ids, self.embedding)
        rotation = self.rope.at(positions)
        for layer, layer_kv in zip(self.layers, kv, strict=True):
            x = layer(x, rotation, layer_kv, batch)
        return x

    def logits(self, hidden: Tensor) -> Tensor:
        """Float32 logits `[num_rows, vocab_size]` of the rows that need them."""
        return self.head(self.norm(hidden)).float()
