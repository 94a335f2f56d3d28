"""The settings of a Llama model in a GGUF file, as Hugging Face writes them."""

from dataclasses import dataclass

from llama4coder.checkpoint.gguf_file import GgufFile
from llama4coder.errors import CheckpointError

ARCHITECTURE = "llama"


@dataclass(frozen=True, slots=True)
class LlamaShape:
    """The sizes that say which tensors there are and how large."""

    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    ties_embeddings: bool


def read_shape(file: GgufFile) -> LlamaShape:
    """The model's sizes; `CheckpointError` for another architecture or a variant that is not served."""
    architecture = file.text("general.architecture")
    if architecture != ARCHITECTURE:
        raise CheckpointError(f"{file.path} holds the architecture {architecture}; only {ARCHITECTURE} is supported")
    hidden_size = file.integer("llama.embedding_length")
    num_heads = file.integer("llama.attention.head_count")
    head_dim = file.optional_integer("llama.attention.key_length") or hidden_size // max(num_heads, 1)
    _refuse_variants(file, head_dim)
    return LlamaShape(
        num_layers=file.integer("llama.block_count"),
        hidden_size=hidden_size,
        intermediate_size=file.integer("llama.feed_forward_length"),
        num_heads=num_heads,
        num_kv_heads=file.optional_integer("llama.attention.head_count_kv") or num_heads,
        head_dim=head_dim,
        vocab_size=len(file.texts("tokenizer.ggml.tokens")),
        ties_embeddings="output.weight" not in file.tensors,
    )


def hugging_face_config(file: GgufFile, shape: LlamaShape) -> dict[str, object]:
    """The content of config.json."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "rms_norm_eps": file.number("llama.attention.layer_norm_rms_epsilon"),
        "rope_theta": file.number("llama.rope.freq_base") if file.has("llama.rope.freq_base") else 10000.0,
        "rope_scaling": None,
        "max_position_embeddings": file.integer("llama.context_length"),
        "vocab_size": shape.vocab_size,
        "tie_word_embeddings": shape.ties_embeddings,
        "bos_token_id": file.optional_integer("tokenizer.ggml.bos_token_id"),
        "eos_token_id": file.optional_integer("tokenizer.ggml.eos_token_id"),
        "torch_dtype": "bfloat16",
        "dtype": "bfloat16",
    }


def _refuse_variants(file: GgufFile, head_dim: int) -> None:
    # Each of these changes the computation; converting without it would give a model that talks nonsense.
    if file.has("llama.rope.scaling.type") and file.text("llama.rope.scaling.type") != "none":
        raise CheckpointError(f"{file.path} scales its RoPE, which the conversion does not support")
    if (file.optional_integer("llama.rope.dimension_count") or head_dim) != head_dim:
        raise CheckpointError(f"{file.path} rotates a part of each head, which the conversion does not support")
    if file.optional_integer("llama.expert_count"):
        raise CheckpointError(f"{file.path} is a mixture of experts, which the conversion does not support")
