"""How many bytes weights and KV blocks take; the single source for engine, router and planner."""

from llama4coder.config import DType
from llama4coder.shape import ModelShape

BLOCK_SIZE = 16  # tokens per block (design section 7)

DTYPE_BYTES: dict[DType, int] = {"float32": 4, "bfloat16": 2, "float16": 2}


def kv_bytes_per_token(shape: ModelShape, dtype: DType) -> int:
    """Keys and values of one token over all layers, on one rank that holds every head."""
    return 2 * shape.num_layers * shape.num_kv_heads * shape.head_dim * DTYPE_BYTES[dtype]


def kv_bytes_per_block(shape: ModelShape, dtype: DType) -> int:
    return BLOCK_SIZE * kv_bytes_per_token(shape, dtype)


def weight_bytes(shape: ModelShape, dtype: DType) -> int:
    return shape.num_parameters * DTYPE_BYTES[dtype]


def num_blocks_for(num_tokens: int) -> int:
    """Blocks that hold this many tokens of one sequence."""
    return -(-num_tokens // BLOCK_SIZE)
