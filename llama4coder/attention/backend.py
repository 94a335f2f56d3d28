"""How attention over paged KV is computed."""

from typing import Protocol

from torch import Tensor

from llama4coder.attention.batch import AttentionBatch
from llama4coder.kv.tensors import LayerKV


class AttentionBackend(Protocol):
    """Causal attention of a step's tokens over their sequences' blocks.

    The tokens' own keys and values are already in `kv`. Queries and result are `[num_tokens, num_heads, head_dim]`;
    query head h reads KV head h // (num_heads // num_kv_heads); scores are scaled by head_dim ** -0.5.
    """

    def __call__(self, queries: Tensor, kv: LayerKV, batch: AttentionBatch) -> Tensor: ...
