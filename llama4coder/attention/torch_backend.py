"""Paged attention with torch alone: runs anywhere, and is what every other backend is compared with."""

import torch
import torch.nn.functional as F
from torch import Tensor

from llama4coder.attention.batch import AttentionBatch, DecodeGroup, PrefillRow
from llama4coder.kv.tensors import LayerKV


class TorchAttention:
    """Gathers each sequence's blocks into a contiguous run and uses scaled_dot_product_attention."""

    def __call__(self, queries: Tensor, kv: LayerKV, batch: AttentionBatch) -> Tensor:
        out = torch.empty_like(queries)
        for group in batch.decodes:
            out[group.token_index] = _decode(queries[group.token_index], kv, group)
        for row in batch.prefills:
            rows = slice(row.first, row.first + row.num_tokens)
            out[rows] = _prefill(queries[rows], kv, row)
        return out


def _decode(queries: Tensor, kv: LayerKV, group: DecodeGroup) -> Tensor:
    """Query heads that share a KV head become rows of one product, so keys and values are read once."""
    num_sequences, num_heads, head_dim = queries.shape
    num_kv_heads = kv.keys.shape[2]
    keys = kv.keys[group.block_table].flatten(1, 2).transpose(1, 2)  # [num_sequences, num_kv_heads, length, head_dim]
    values = kv.values[group.block_table].flatten(1, 2).transpose(1, 2)
    grouped = queries.view(num_sequences, num_kv_heads, num_heads // num_kv_heads, head_dim)
    attended = F.scaled_dot_product_attention(grouped, keys, values, attn_mask=group.mask)
    return attended.reshape(num_sequences, num_heads, head_dim)


def _prefill(queries: Tensor, kv: LayerKV, row: PrefillRow) -> Tensor:
    length = row.start + row.num_tokens
    keys = kv.keys[row.block_ids].flatten(0, 1)[:length].transpose(0, 1)  # [num_kv_heads, length, head_dim]
    values = kv.values[row.block_ids].flatten(0, 1)[:length].transpose(0, 1)
    mask = None
    if row.start:  # a later chunk: token i of it sees everything up to position start + i
        mask = torch.ones(row.num_tokens, length, dtype=torch.bool, device=queries.device).tril(row.start)
    attended = F.scaled_dot_product_attention(
        queries.transpose(0, 1).unsqueeze(0),
        keys.unsqueeze(0),
        values.unsqueeze(0),
        attn_mask=mask,
        is_causal=mask is None,
        enable_gqa=True,
    )
    return attended.squeeze(0).transpose(0, 1)
