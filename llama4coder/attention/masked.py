"""Attention to given keys, of which each query sees some: what is exact, and fast nowhere."""

import torch
from torch import Tensor

from llama4coder.attention.merge import AttentionOutput
from llama4coder.kv.tensors import DenseKV


def attend_masked(queries: Tensor, seen: DenseKV, hidden: Tensor) -> AttentionOutput:
    """Of `queries` `[num_tokens, num_heads, head_dim]` in float32 to `[num_keys, num_kv_heads, head_dim]`.

    `hidden` `[num_tokens, num_kv_heads or 1, num_keys]` is True where a query does not see a key; one that sees none
    gets zeros and -inf.
    """
    num_tokens, num_heads, head_dim = queries.shape
    keys, values = (part.transpose(0, 1).float() for part in (seen.keys, seen.values))
    # [num_kv_heads, queries that share a KV head, ...]: keys and values are read once
    grouped = queries.view(num_tokens, len(keys), -1, head_dim).transpose(0, 1)
    scores = grouped.flatten(1, 2) @ keys.transpose(1, 2) * head_dim**-0.5
    scores = scores.masked_fill(hidden.transpose(0, 1).repeat_interleave(num_heads // len(keys), dim=1), -torch.inf)
    lse = scores.logsumexp(-1)
    weights = (scores - lse.masked_fill(lse.isneginf(), 0.0).unsqueeze(-1)).exp()
    out = (weights @ values).view(len(keys), num_tokens, -1, head_dim).transpose(0, 1)
    lse = lse.view(len(keys), num_tokens, -1).transpose(0, 1)
    return AttentionOutput(out.reshape_as(queries), lse.reshape(num_tokens, num_heads))
