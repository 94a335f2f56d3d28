"""What sets the architectures that GGUF files hold apart from each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from llama4coder.checkpoint.gguf_file import GgufFile
from llama4coder.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class GgufFamily:
    """One architecture; its settings begin with `name`."""

    name: str  # general.architecture, and Hugging Face's model_type
    model_class: str  # Hugging Face's
    interleaves_heads: bool  # llama.cpp's converter has reordered the rows of query and key projections
    qkv_bias: bool = False
    qk_norm: bool = False


_FAMILIES: Mapping[str, GgufFamily] = MappingProxyType(
    {
        family.name: family
        for family in (
            GgufFamily("llama", "LlamaForCausalLM", interleaves_heads=True),
            GgufFamily("qwen2", "Qwen2ForCausalLM", interleaves_heads=False, qkv_bias=True),
            GgufFamily("qwen3", "Qwen3ForCausalLM", interleaves_heads=False, qk_norm=True),
            GgufFamily("smollm3", "SmolLM3ForCausalLM", interleaves_heads=True),
        )
    }
)


def read_family(file: GgufFile) -> GgufFamily:
    """The architecture that a file says it holds; `CheckpointError` for one that is not served."""
    name = file.text("general.architecture")
    if name not in _FAMILIES:
        known = ", ".join(_FAMILIES)
        raise CheckpointError(
            f"{file.path} holds the architecture {name}; supported are {known}; llama.cpp or Ollama may serve it"
        )
    return _FAMILIES[name]
