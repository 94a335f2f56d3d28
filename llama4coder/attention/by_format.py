"""Attention with torch alone for KV of any format."""

from llama4coder.attention.backend import ShardableAttention
from llama4coder.attention.batch import HeadLayout
from llama4coder.attention.torch_backend import TorchAttention
from llama4coder.attention.torch_tailed import TorchTailedAttention
from llama4coder.config import KVFormat
from llama4coder.kv.sizing import TAILED_FORMATS


def torch_attention(heads: HeadLayout, kv_format: KVFormat) -> ShardableAttention:
    """What other kernels are compared with, and what takes their place where they cannot compute these heads."""
    return TorchTailedAttention(heads) if kv_format in TAILED_FORMATS else TorchAttention(heads)
