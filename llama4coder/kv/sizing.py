"""How many bytes weights and KV blocks take; the single source for engine, router and planner.

What else a rank needs is in `kv.step_sizing`, and all of it together in `kv.rank_memory`.
"""

from collections.abc import Callable, Mapping

from llama4coder.config import DType, KVFormat, QuantFormat
from llama4coder.exclusions import HEAD, NOTHING, Exclusions, layer_modules
from llama4coder.parallel.plan import RankPlan
from llama4coder.shape import MatrixShape

BLOCK_SIZE = 16  # tokens per block (design section 7)

INT4_GROUP = 32  # inputs that share a step and a low
NF4_GROUP = 64  # inputs that share a scale

_FP8_ALIGNMENT = 16  # of in- and out-features, in products of tensor cores

SCALE_BYTES = 4  # float32
INT4_PARAM_BYTES = 2  # float16: a scale, or a low
STAGING_BYTES = 32 * 2**20  # in which blocks on their way to host memory and back are gathered, on the device
TAILED_FORMATS: frozenset[KVFormat] = frozenset({"fp8", "int4"})  # that compress a block when it is full

HEAD_QUANT: Mapping[QuantFormat, QuantFormat] = {  # how the head is kept beside layers in a format
    "none": "none",
    "int8": "int8",
    "int4": "int8",
    "fp8": "fp8",
    "nf4": "none",
}

DTYPE_BYTES: dict[DType, int] = {"float32": 4, "bfloat16": 2, "float16": 2}


def kv_bytes_per_token(plan: RankPlan, dtype: DType) -> int:
    """Dense keys and values of one token over all layers, of the heads of one rank."""
    return 2 * plan.shape.num_layers * plan.num_kv_heads * plan.shape.head_dim * DTYPE_BYTES[dtype]


def kv_bytes_per_block(
    plan: RankPlan, dtype: DType, kv_format: KVFormat = "dense", *, block_bounds: bool = False
) -> int:
    """One block on one rank, with its scales, and with the bounds of its keys if they are kept; see `kv.formats`."""
    bounds_bytes = kv_bytes_per_token(plan, dtype) if block_bounds else 0  # a lowest and a highest key
    return _content_bytes(plan, dtype, kv_format) + bounds_bytes


def _content_bytes(plan: RankPlan, dtype: DType, kv_format: KVFormat) -> int:
    if kv_format == "dense":
        return BLOCK_SIZE * kv_bytes_per_token(plan, dtype)
    head_dim = plan.shape.head_dim
    per_head = {
        "fp8": 2 * (BLOCK_SIZE * head_dim + SCALE_BYTES),
        "int8": 2 * BLOCK_SIZE * (head_dim + SCALE_BYTES),
        "int4": BLOCK_SIZE * head_dim + 2 * INT4_PARAM_BYTES * (head_dim + BLOCK_SIZE),
    }
    return plan.shape.num_layers * plan.num_kv_heads * per_head[kv_format]


def kv_tail_bytes(plan: RankPlan, dtype: DType, kv_format: KVFormat, max_sequences: int, max_draft_tokens: int) -> int:
    """What one rank keeps dense of unfinished blocks; none where each token is compressed by itself."""
    if kv_format not in TAILED_FORMATS:
        return 0
    return max_sequences * tail_tokens(max_draft_tokens) * kv_bytes_per_token(plan, dtype)


def tail_tokens(max_draft_tokens: int) -> int:
    """Tokens of a tail: an unfinished block, and what guesses may add to it before it is known which are right."""
    return num_blocks_for(BLOCK_SIZE + max_draft_tokens) * BLOCK_SIZE


def num_staged_blocks(block_bytes: int) -> int:
    """Blocks that are gathered at once on their way to host memory and back; one however large it is."""
    return max(1, STAGING_BYTES // block_bytes)


def layer_matrices(plan: RankPlan) -> tuple[MatrixShape, ...]:
    """One rank's part of `ModelShape.layer_matrices`."""
    shape = plan.shape
    wide = _length(plan.layout.rank_part(plan.rank).of(shape.intermediate_size))
    return (
        MatrixShape((plan.num_heads + 2 * plan.num_kv_heads) * shape.head_dim, shape.hidden_size),
        MatrixShape(shape.hidden_size, _length(plan.attended)),
        MatrixShape(2 * wide, shape.hidden_size),
        MatrixShape(shape.hidden_size, wide),
    )


def weight_bytes(plan: RankPlan, dtype: DType, quant: QuantFormat = "none", exclusions: Exclusions = NOTHING) -> int:
    """All weights of one rank with their scales; what is excluded, and an embedding that is not tied to the head, stay
    in `dtype`.
    """
    table = MatrixShape(_length(plan.vocabulary), plan.shape.hidden_size)
    table_bytes = 0 if plan.shape.tied_embeddings else table.size * DTYPE_BYTES[dtype]
    head_bytes = matrix_bytes(table, dtype, "none" if exclusions.hold(HEAD) else HEAD_QUANT[quant])
    layer_bytes = sum(_layer_bytes(plan, dtype, quant, exclusions, index) for index in range(plan.shape.num_layers))
    vector_bytes = _num_vector_weights(plan) * DTYPE_BYTES[dtype]
    return layer_bytes + head_bytes + table_bytes + vector_bytes


def matrix_bytes(matrix: MatrixShape, dtype: DType, quant: QuantFormat) -> int:
    """One matrix with its scales; in `dtype` where the format does not cover its size."""
    if quant == "none" or not covers(quant, matrix):
        return matrix.size * DTYPE_BYTES[dtype]
    return _MATRIX_BYTES[quant](matrix)


def covers(quant: QuantFormat, matrix: MatrixShape) -> bool:
    """Whether a format can have a matrix of this size; one that it cannot have stays in the model's dtype."""
    if quant == "fp8":
        return matrix.out_features % _FP8_ALIGNMENT == matrix.in_features % _FP8_ALIGNMENT == 0
    return quant != "nf4" or matrix.in_features % NF4_GROUP == 0


def _layer_bytes(plan: RankPlan, dtype: DType, quant: QuantFormat, exclusions: Exclusions, index: int) -> int:
    return sum(
        matrix_bytes(matrix, dtype, "none" if exclusions.hold(modules[0]) else quant)
        for matrix, modules in zip(layer_matrices(plan), layer_modules(index), strict=True)
    )


def _num_vector_weights(plan: RankPlan) -> int:
    """Norms, which every rank has, and biases; none of them is quantised."""
    shape = plan.shape
    qkv, _, gate_up, _ = layer_matrices(plan)
    per_layer = 2 * shape.hidden_size + 2 * shape.head_dim * shape.qk_norm
    per_layer += qkv.out_features * shape.qkv_bias + gate_up.out_features * shape.mlp_bias
    per_layer += plan.holds_bias * shape.hidden_size * (shape.attention_out_bias + shape.mlp_bias)
    return shape.num_layers * per_layer + shape.hidden_size


def _length(part: slice) -> int:
    return int(part.stop - part.start)


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


def num_blocks_for(num_tokens: int, kv_shards: int = 1) -> int:
    """Blocks that hold this many tokens of one sequence on the fullest of the shards."""
    return -(-num_tokens // (BLOCK_SIZE * kv_shards))
