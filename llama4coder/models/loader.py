"""From a checkpoint folder to a `Llama` in memory."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from llama4coder.attention.backend import AttentionBackend
from llama4coder.attention.batch import HeadLayout
from llama4coder.checkpoint.weight_files import WeightFiles
from llama4coder.exclusions import HEAD, Exclusions
from llama4coder.layers.kernels import Kernels
from llama4coder.layers.linear import DenseLinear, Head, Linear
from llama4coder.layers.norm import Norm
from llama4coder.layers.rope import build_rope
from llama4coder.models.llama import DecoderLayer, Llama
from llama4coder.models.normed_heads import HeadNormedLinear
from llama4coder.models.weights import Placement, WeightReader
from llama4coder.parallel.attention import ShardedAttention
from llama4coder.parallel.layers import SummedLinear, VocabularyEmbedding
from llama4coder.parallel.share import RankShare
from llama4coder.progress import Progress


def load_llama(
    folder: Path, share: RankShare, context_length: int, kernels: Kernels, placement: Placement, progress: Progress
) -> Llama:
    """Read every weight of this rank once, with progress in bytes.

    Raises:
        CheckpointError: a tensor is missing, left over or of the wrong size, or its file is damaged.
    """
    reader = WeightReader(WeightFiles.find(folder), share.plan, placement, progress)
    progress.start("loading weights", reader.num_bytes, "B")
    try:
        model = build_llama(reader, share, context_length, kernels, placement)
    finally:
        progress.finish()
    reader.check_all_read()
    return model


class TensorSource(Protocol):
    """Gives this rank's part of each tensor of a model once, in the served dtype and on the device.

    `size` is that of the whole tensor.
    """

    def read(self, name: str, size: Sequence[int]) -> Tensor: ...

    def read_rows(self, names: Sequence[str], sizes: Sequence[Sequence[int]]) -> Tensor:
        """The parts of several tensors stacked along their first axis."""
        ...


def build_llama(
    source: TensorSource, share: RankShare, context_length: int, kernels: Kernels, placement: Placement
) -> Llama:
    """Put a rank's part of a model together, layer by layer."""
    return _LlamaLoader(source, share, kernels, placement.exclusions).load(context_length, placement)


class _LlamaLoader:
    """Hugging Face's names and sizes; projections that share their input become one matrix."""

    def __init__(self, reader: TensorSource, share: RankShare, kernels: Kernels, exclusions: Exclusions) -> None:
        self._reader = reader
        self._exclusions = exclusions
        self._share = share
        self._shape = share.plan.shape
        self._kernels = kernels

    def load(self, context_length: int, placement: Placement) -> Llama:
        shape, plan = self._shape, self._share.plan
        table = DenseLinear(self._reader.read("model.embed_tokens.weight", (shape.vocab_size, shape.hidden_size)))
        weight = table.weight
        if not shape.tied_embeddings:
            weight = self._reader.read("lm_head.weight", (shape.vocab_size, shape.hidden_size))
        head = (self._kernels.dense if self._exclusions.hold(HEAD) else self._kernels.head)(weight)
        return Llama(
            embedding=self._embedding(head if shape.tied_embeddings else table),
            layers=tuple(self._kernels.fuse(self._layer(f"model.layers.{index}")) for index in range(shape.num_layers)),
            norm=self._norm("model.norm", shape.hidden_size),
            head=head,
            rope=build_rope(shape, context_length, placement.dtype, placement.device),
            attention=self._attention(
                HeadLayout(plan.num_heads, plan.num_kv_heads, shape.head_dim, shape.window_in(context_length))
            ),
            unrotated=frozenset(shape.unrotated_layers),
        )

    def _attention(self, heads: HeadLayout) -> AttentionBackend:
        backend = self._kernels.attention(heads)
        return backend if self._share.kv_ranks.size == 1 else ShardedAttention.of(backend, self._share)

    def _embedding(self, table: Head) -> Callable[[Tensor], Tensor]:
        if self._share.ranks.size == 1:
            return table.rows
        return VocabularyEmbedding(table, self._share.plan.vocabulary, self._share.ranks)

    def _layer(self, prefix: str) -> DecoderLayer:
        shape = self._shape
        query_size, kv_size = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
        attention, mlp, wide = f"{prefix}.self_attn", f"{prefix}.mlp", shape.intermediate_size
        qkv = {f"{attention}.q_proj": query_size, f"{attention}.k_proj": kv_size, f"{attention}.v_proj": kv_size}
        gate_up = {f"{mlp}.gate_proj": wide, f"{mlp}.up_proj": wide}
        out = {f"{attention}.o_proj": shape.hidden_size}
        return DecoderLayer(
            attention_norm=self._norm(f"{prefix}.input_layernorm", shape.hidden_size),
            qkv=self._qkv(attention, self._linear(qkv, shape.hidden_size, shape.qkv_bias)),
            attention_out=self._summed(out, query_size, shape.attention_out_bias),
            mlp_norm=self._norm(f"{prefix}.post_attention_layernorm", shape.hidden_size),
            gate_up=self._linear(gate_up, shape.hidden_size, shape.mlp_bias),
            swiglu=self._kernels.swiglu,
            down=self._summed({f"{mlp}.down_proj": shape.hidden_size}, wide, shape.mlp_bias),
        )

    def _qkv(self, attention: str, product: Linear) -> Linear:
        shape, plan = self._shape, self._share.plan
        if not shape.qk_norm:
            return product
        queries, keys = (self._norm(f"{attention}.{name}", shape.head_dim) for name in ("q_norm", "k_norm"))
        return HeadNormedLinear(product, queries, keys, HeadLayout(plan.num_heads, plan.num_kv_heads, shape.head_dim))

    def _norm(self, name: str, size: int) -> Norm:
        weight = self._reader.read(f"{name}.weight", (size,))
        return self._kernels.norm(weight, self._shape.rms_norm_eps)

    def _summed(self, out_sizes: dict[str, int], in_size: int, has_bias: bool) -> Linear:
        """A product whose input features the ranks divide."""
        part = self._linear(out_sizes, in_size, has_bias and self._share.plan.holds_bias)
        return part if self._share.ranks.size == 1 else SummedLinear(part, self._share.ranks)

    def _linear(self, out_sizes: dict[str, int], in_size: int, has_bias: bool) -> Linear:
        sizes = [(size, in_size) for size in out_sizes.values()]
        weight = self._reader.read_rows([f"{name}.weight" for name in out_sizes], sizes)
        make = self._kernels.dense if any(map(self._exclusions.hold, out_sizes)) else self._kernels.linear
        if not has_bias:
            return make(weight)
        bias = self._reader.read_rows([f"{name}.bias" for name in out_sizes], [(size,) for size in out_sizes.values()])
        return make(weight, bias)
