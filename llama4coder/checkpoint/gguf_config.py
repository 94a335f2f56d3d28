"""The settings of a model in a GGUF file, as Hugging Face writes them."""

from dataclasses import dataclass

from llama4coder.checkpoint.gguf_family import GgufFamily, read_family
from llama4coder.checkpoint.gguf_file import GgufFile
from llama4coder.checkpoint.gguf_rope import RotatedModel, rope_parameters
from llama4coder.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class GgufShape:
    """The architecture, and the sizes that say which tensors there are and how large."""

    family: GgufFamily
    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    context_length: int
    ties_embeddings: bool


def read_shape(file: GgufFile) -> GgufShape:
    """The model's sizes; `CheckpointError` for another architecture or a variant that is not served."""
    family = read_family(file)
    hidden_size = file.integer(f"{family.name}.embedding_length")
    num_heads = file.integer(f"{family.name}.attention.head_count")
    head_dim = file.optional_integer(f"{family.name}.attention.key_length") or hidden_size // max(num_heads, 1)
    _refuse_unsupported(file, family, head_dim)
    return GgufShape(
        family=family,
        num_layers=file.integer(f"{family.name}.block_count"),
        hidden_size=hidden_size,
        intermediate_size=file.integer(f"{family.name}.feed_forward_length"),
        num_heads=num_heads,
        num_kv_heads=file.optional_integer(f"{family.name}.attention.head_count_kv") or num_heads,
        head_dim=head_dim,
        vocab_size=len(file.texts("tokenizer.ggml.tokens")),
        context_length=file.integer(f"{family.name}.context_length"),
        ties_embeddings="output.weight" not in file.tensors,
    )


def hugging_face_config(file: GgufFile, shape: GgufShape) -> dict[str, object]:
    """The content of config.json."""
    family = shape.family
    return {
        "architectures": [family.model_class],
        "model_type": family.name,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "attention_bias": False,  # of all four projections; biases of three of them are the family's own habit
        "mlp_bias": False,
        "rms_norm_eps": file.number(f"{family.name}.attention.layer_norm_rms_epsilon"),
        "rope_parameters": rope_parameters(file, RotatedModel(family.name, shape.head_dim, shape.context_length)),
        "max_position_embeddings": shape.context_length,
        "vocab_size": shape.vocab_size,
        "tie_word_embeddings": shape.ties_embeddings,
        "bos_token_id": file.optional_integer("tokenizer.ggml.bos_token_id"),
        "eos_token_id": file.optional_integer("tokenizer.ggml.eos_token_id"),
        "pad_token_id": file.optional_integer("tokenizer.ggml.padding_token_id"),
        "torch_dtype": "bfloat16",
        "dtype": "bfloat16",
    }


def _refuse_unsupported(file: GgufFile, family: GgufFamily, head_dim: int) -> None:
    if (file.optional_integer("split.count") or 1) > 1:
        raise CheckpointError(f"{file.path} is one part of a split model; merge its parts into one file first")
    # Each of these changes the computation; converting without it would give a model that talks nonsense.
    if (file.optional_integer(f"{family.name}.rope.dimension_count") or head_dim) != head_dim:
        raise CheckpointError(f"{file.path} rotates a part of each head, which the conversion does not support")
    if file.optional_integer(f"{family.name}.expert_count"):
        raise CheckpointError(f"{file.path} is a mixture of experts, which the conversion does not support")
