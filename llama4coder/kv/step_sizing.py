"""How many bytes a rank needs beside weights and KV: for the largest step in passing, and for good.

What passes depends on kernels, and on how an allocator rounds: these are sums of the tensors that are alive at the
worst moment. The pool of blocks does not trust them where it can be measured (`kv.budget`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llama4coder.config import Device, DType, KVFormat, QuantFormat
from llama4coder.exclusions import NOTHING, Exclusions
from llama4coder.gpu.graph_sizes import GraphSizes
from llama4coder.kv.sizing import BLOCK_SIZE, DTYPE_BYTES, layer_matrices, num_blocks_for
from llama4coder.parallel.plan import RankPlan
from llama4coder.shape import ModelShape

FILTERED_ROWS = 64  # of logits that are sorted at once
SCORED_TOKENS = 128  # of prompts whose log-probabilities are wanted, in one step
GATHERED_TOKENS = 32768  # whose keys and values torch's attention gathers at once, of a longer sequence all

WIDENED_WEIGHTS = 2**22  # that are in float32 at once, where weights are widened at each product
_WIDENING_BYTES = 12  # of each of them: their bits as indices, what these stand for, and the scales

_FLOAT_BYTES, _INDEX_BYTES = 4, 8
_MIB = 2**20

# Python, torch and what they load, measured at 240 MiB, and Ray; on a GPU its context, cuBLAS' and Triton's code.
_RUNTIME_BYTES: Mapping[Device, int] = {"cpu": 450 * _MIB, "cuda": 1024 * _MIB}
_GPU_GROUP_BYTES = 512 * _MIB  # what NCCL keeps for ranks that meet
_CPU_GROUP_BYTES = 32 * _MIB

_LOGITS = 2  # float32 arrays of all sampled rows that are alive at once: the model's, and the same with penalties
_SCORED_ARRAYS = 2  # of whole rows: gathered from all ranks, and their log-probabilities
_FILTERED_ARRAYS = 12  # of whole rows that are sorted at once: indices count twice

_GRAPH_BYTES = 13 * 2**19  # of each graph, whatever it records: 6.3 MiB were measured on an H200, 8B and 70B in FP8


@dataclass(frozen=True, slots=True)
class ServedForm:
    """How a model is kept and computed."""

    dtype: DType
    quant: QuantFormat
    kv_format: KVFormat
    device: Device
    block_bounds: bool = False  # are kept
    exclusions: Exclusions = NOTHING  # from `quant`

    @property
    def widens_weights(self) -> bool:
        """Whether weights are widened at each product, for want of kernels that compute with them."""
        if self.device == "cuda" or self.quant == "none":
            return False
        return self.quant in ("fp8", "nf4") or self.kernels == "torch"

    @property
    def kernels(self) -> str:
        """Which set of kernels computes it: `engine.hardware` decides for the same reasons."""
        if self.device == "cuda":
            return "triton"
        return "native" if self.dtype == "bfloat16" else "torch"


@dataclass(frozen=True, slots=True)
class StepLimits:
    """How large a step may be."""

    context_length: int
    max_sequences: int
    max_step_tokens: int
    max_draft_tokens: int  # 0 where nothing is guessed

    @property
    def num_sampled(self) -> int:
        """Most rows of logits that are sampled in one step: of each sequence the next token, and one per guess."""
        return min(self.max_sequences * (1 + self.max_draft_tokens), self.max_step_tokens)


def runtime_bytes(plan: RankPlan, device: Device) -> int:
    """What a rank's process takes before it has any weights, and to speak to other ranks."""
    group_bytes = _GPU_GROUP_BYTES if device == "cuda" else _CPU_GROUP_BYTES
    return _RUNTIME_BYTES[device] + (group_bytes if plan.layout.num_ranks > 1 else 0)


def buffer_bytes(plan: RankPlan, form: ServedForm, limits: StepLimits) -> int:
    """Tables of rotations, tokens, blocks and counts, which a rank keeps for good."""
    rotations = 2 * limits.context_length * plan.shape.head_dim * DTYPE_BYTES[form.dtype]
    num_blocks = num_blocks_for(limits.context_length)
    tokens = limits.max_sequences * num_blocks * BLOCK_SIZE * _INDEX_BYTES
    block_table = limits.max_sequences * num_blocks_for(limits.context_length, plan.layout.kv_shards)
    on_gpu = form.device == "cuda"
    counts = count_bytes(plan.shape, limits.max_sequences)
    return rotations + tokens + counts + block_table * (_FLOAT_BYTES if on_gpu else _INDEX_BYTES)


def count_bytes(shape: ModelShape, num_sequences: int) -> int:
    """How often each token came, for so many sequences with penalties, and whether it did in the prompt."""
    return num_sequences * shape.vocab_size * (_FLOAT_BYTES + 1)


def activation_bytes(plan: RankPlan, form: ServedForm, limits: StepLimits) -> int:
    """What the layers need in passing, for as many tokens as a step may have at the far end of the context."""
    layer_bytes = _LAYER_BYTES[form.kernels](plan, form, limits)
    return layer_bytes + _shard_bytes(plan, limits) + _unpacked_bytes(plan, form) + _widened_bytes(plan, form, limits)


def sampler_bytes(plan: RankPlan, limits: StepLimits) -> int:
    """Logits in float32 of all sampled rows and scored tokens, and what choosing and scoring needs beside them."""
    num_scored, vocab_size = min(SCORED_TOKENS, limits.max_step_tokens), plan.shape.vocab_size
    logits = (_LOGITS * limits.num_sampled + num_scored) * _num_own_logits(plan)
    filtered = min(FILTERED_ROWS, limits.num_sampled) * vocab_size * _FILTERED_ARRAYS
    scored = num_scored * vocab_size * (_SCORED_ARRAYS if plan.layout.num_ranks > 1 else _SCORED_ARRAYS - 1)
    return (logits + max(filtered, scored)) * _FLOAT_BYTES


def graph_bytes(plan: RankPlan, form: ServedForm, limits: StepLimits) -> int:
    """CUDA graphs of every size: they share what passes, and logits that stay."""
    if form.device != "cuda":
        return 0
    sizes = GraphSizes.to_verify(limits.max_sequences, limits.max_draft_tokens).all()
    num_tokens = max(size.num_tokens for size in sizes)
    logits = _LOGITS * num_tokens * _num_own_logits(plan) * _FLOAT_BYTES
    passing = num_tokens * _numbers_per_token(plan) * DTYPE_BYTES[form.dtype] + _unpacked_bytes(plan, form)
    return logits + passing + len(sizes) * _GRAPH_BYTES


def _num_own_logits(plan: RankPlan) -> int:
    return int(plan.vocabulary.stop - plan.vocabulary.start)


def _numbers_per_token(plan: RankPlan) -> int:
    """Of a layer whose parts are all alive: input, output, two normed, qkv, queries, attended, gate and up, product."""
    qkv, _, gate_up, down = layer_matrices(plan)
    heads = 2 * plan.num_heads * plan.shape.head_dim
    return 4 * plan.shape.hidden_size + qkv.out_features + heads + gate_up.out_features + down.in_features


def _native_bytes(plan: RankPlan, form: ServedForm, limits: StepLimits) -> int:
    """Of one layer: attention works in place of the blocks."""
    return limits.max_step_tokens * _numbers_per_token(plan) * DTYPE_BYTES[form.dtype]


def _torch_bytes(plan: RankPlan, form: ServedForm, limits: StepLimits) -> int:
    """Keys and values are gathered, heads copied while they are rotated, and a mask has a column per key."""
    itemsize, num_tokens = DTYPE_BYTES[form.dtype], limits.max_step_tokens
    num_gathered = max(limits.context_length, min(GATHERED_TOKENS, limits.max_sequences * limits.context_length))
    gathered = 2 * 2 * num_gathered * plan.num_kv_heads * plan.shape.head_dim * itemsize
    mask = num_tokens * limits.context_length * (1 + itemsize)
    return _native_bytes(plan, form, limits) + gathered + mask


def _triton_bytes(plan: RankPlan, form: ServedForm, limits: StepLimits) -> int:
    """Every row's keys are split over the device, and the parts meet in float32."""
    parts = 2 * limits.num_sampled * plan.num_heads * (plan.shape.head_dim + 1) * _FLOAT_BYTES
    return _native_bytes(plan, form, limits) + parts


def _shard_bytes(plan: RankPlan, limits: StepLimits) -> int:
    """Parts of attention in float32, sent and received, where ranks hold the same heads."""
    if plan.layout.kv_shards == 1:
        return 0
    return 4 * limits.max_step_tokens * plan.num_heads * (plan.shape.head_dim + 1) * _FLOAT_BYTES


def _unpacked_bytes(plan: RankPlan, form: ServedForm) -> int:
    """The largest matrix in full, where 4 bits are unpacked for many tokens."""
    if form.quant != "nf4" or form.device != "cuda":
        return 0
    return max(matrix.size for matrix in layer_matrices(plan)) * DTYPE_BYTES[form.dtype]


def _widened_bytes(plan: RankPlan, form: ServedForm, limits: StepLimits) -> int:
    """A few rows of weights, and activations that meet them in float32: what is rounded, and the product twice."""
    if not form.widens_weights:
        return 0
    matrices = layer_matrices(plan)
    per_token = max(3 * matrix.in_features + 2 * matrix.out_features for matrix in matrices) * _FLOAT_BYTES
    largest = max(plan.shape.hidden_size * _num_own_logits(plan), *(matrix.size for matrix in matrices))
    num_weights = min(WIDENED_WEIGHTS, largest)
    return limits.max_step_tokens * per_token + num_weights * _WIDENING_BYTES


_LAYER_BYTES: Mapping[str, Callable[[RankPlan, ServedForm, StepLimits], int]] = {
    "native": _native_bytes,
    "torch": _torch_bytes,
    "triton": _triton_bytes,
}
