"""From a checkpoint folder to a `Llama` in memory."""

from pathlib import Path

from llama4coder.attention.backend import AttentionBackend
from llama4coder.layers.linear import DenseLinear
from llama4coder.layers.norm import RMSNorm
from llama4coder.layers.rope import build_rope
from llama4coder.models.llama import MLP, DecoderLayer, Llama, SelfAttention
from llama4coder.models.weights import Placement, WeightFiles, WeightReader
from llama4coder.progress import Progress
from llama4coder.shape import ModelShape


def load_llama(
    folder: Path,
    shape: ModelShape,
    context_length: int,
    backend: AttentionBackend,
    placement: Placement,
    progress: Progress,
) -> Llama:
    """Read every weight once, with progress in bytes.

    Raises:
        CheckpointError: a tensor is missing, has the wrong size, or its file is damaged.
    """
    files = WeightFiles.find(folder)
    progress.start("loading weights", files.num_bytes, "B")
    reader = WeightReader(files, placement, progress)
    embedding = reader.read("model.embed_tokens.weight", (shape.vocab_size, shape.hidden_size))
    head = embedding if shape.tied_embeddings else reader.read("lm_head.weight", embedding.shape)
    model = Llama(
        embedding=embedding,
        layers=tuple(_load_layer(reader, shape, index, backend) for index in range(shape.num_layers)),
        norm=_load_norm(reader, shape, "model.norm"),
        head=DenseLinear(head),
        rope=build_rope(shape, context_length, placement.dtype, placement.device),
    )
    progress.finish()
    return model


def _load_layer(reader: WeightReader, shape: ModelShape, index: int, backend: AttentionBackend) -> DecoderLayer:
    prefix = f"model.layers.{index}"
    return DecoderLayer(
        attention_norm=_load_norm(reader, shape, f"{prefix}.input_layernorm"),
        attention=_load_attention(reader, shape, f"{prefix}.self_attn", backend),
        mlp_norm=_load_norm(reader, shape, f"{prefix}.post_attention_layernorm"),
        mlp=_load_mlp(reader, shape, f"{prefix}.mlp"),
    )


def _load_norm(reader: WeightReader, shape: ModelShape, name: str) -> RMSNorm:
    return RMSNorm(reader.read(f"{name}.weight", (shape.hidden_size,)), shape.rms_norm_eps)


def _load_attention(reader: WeightReader, shape: ModelShape, prefix: str, backend: AttentionBackend) -> SelfAttention:
    query_size, kv_size = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    projections = {f"{prefix}.q_proj": query_size, f"{prefix}.k_proj": kv_size, f"{prefix}.v_proj": kv_size}
    return SelfAttention(
        qkv=_load_linear(reader, projections, shape.hidden_size, shape.attention_bias),
        out=_load_linear(reader, {f"{prefix}.o_proj": shape.hidden_size}, query_size, shape.attention_bias),
        num_heads=shape.num_heads,
        num_kv_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        backend=backend,
    )


def _load_mlp(reader: WeightReader, shape: ModelShape, prefix: str) -> MLP:
    wide = shape.intermediate_size
    gate_up = {f"{prefix}.gate_proj": wide, f"{prefix}.up_proj": wide}
    return MLP(
        gate_up=_load_linear(reader, gate_up, shape.hidden_size, shape.mlp_bias),
        down=_load_linear(reader, {f"{prefix}.down_proj": shape.hidden_size}, wide, shape.mlp_bias),
    )


def _load_linear(reader: WeightReader, out_sizes: dict[str, int], in_size: int, has_bias: bool) -> DenseLinear:
    """Projections that share their input become one matrix, in the order given."""
    weight = reader.read_rows(
        [f"{name}.weight" for name in out_sizes], [(size, in_size) for size in out_sizes.values()]
    )
    if not has_bias:
        return DenseLinear(weight)
    bias = reader.read_rows([f"{name}.bias" for name in out_sizes], [(size,) for size in out_sizes.values()])
    return DenseLinear(weight, bias)
