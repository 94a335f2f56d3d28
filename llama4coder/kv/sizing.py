"""How many bytes weights and KV blocks take; the single source for engine, router and planner."""

from collections.abc import Callable, Mapping

from llama4coder.config import DType, QuantFormat
from llama4coder.shape import MatrixShape, ModelShape

BLOCK_SIZE = 16  # tokens per block (design section 7)

INT4_GROUP = 32  # inputs that share a step and a low
NF4_GROUP = 64  # inputs that share a scale

DTYPE_BYTES: dict[DType, int] = {"float32": 4, "bfloat16": 2, "float16": 2}


def kv_bytes_per_token(shape: ModelShape, dtype: DType) -> int:
    """Keys and values of one token over all layers, on one rank that holds every head."""
    return 2 * shape.num_layers * shape.num_kv_heads * shape.head_dim * DTYPE_BYTES[dtype]


def kv_bytes_per_block(shape: ModelShape, dtype: DType) -> int:
    return BLOCK_SIZE * kv_bytes_per_token(shape, dtype)


def weight_bytes(shape: ModelShape, dtype: DType, quant: QuantFormat = "none") -> int:
    """All matrices with their scales; an embedding that is not tied to the head stays in `dtype`."""
    if quant == "none":
        return shape.num_parameters * DTYPE_BYTES[dtype]
    head = MatrixShape(shape.vocab_size, shape.hidden_size)
    wide_bytes = head.size * DTYPE_BYTES[dtype]
    head_bytes = wide_bytes if quant == "nf4" else _byte_bytes(head)
    table_bytes = 0 if shape.tied_embeddings else wide_bytes
    return shape.num_layers * sum(map(_MATRIX_BYTES[quant], shape.layer_matrices)) + head_bytes + table_bytes


def _byte_bytes(matrix: MatrixShape) -> int:
    return matrix.size + 4 * matrix.out_features  # one float32 scale per output


def _int4_bytes(matrix: MatrixShape) -> int:
    return matrix.size // 2 + 4 * matrix.size // INT4_GROUP  # two bfloat16 per group


def _nf4_bytes(matrix: MatrixShape) -> int:
    return matrix.size // 2 + 4 * matrix.size // NF4_GROUP  # one float32 per group


_MATRIX_BYTES: Mapping[QuantFormat, Callable[[MatrixShape], int]] = {
    "int8": _byte_bytes,
    "fp8": _byte_bytes,
    "int4": _int4_bytes,
    "nf4": _nf4_bytes,
}


def num_blocks_for(num_tokens: int) -> int:
    """Blocks that hold this many tokens of one sequence."""
    return -(-num_tokens // BLOCK_SIZE)
