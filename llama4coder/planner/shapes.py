"""Models that can be planned for without a checkpoint: the sizes in their published config.json.

Sources: the models' own config.json on the Hugging Face hub (meta-llama, codellama, Qwen).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from llama4coder.errors import ConfigError
from llama4coder.shape import ModelShape, read_shape, shape_of

_LLAMA_3 = {
    "model_type": "llama",
    "vocab_size": 128256,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 131072,
    "rope_theta": 500000.0,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
}
_LLAMA_32 = {**_LLAMA_3, "tie_word_embeddings": True, "rope_scaling": {**_LLAMA_3["rope_scaling"], "factor": 32.0}}  # type: ignore[dict-item]
_CODE_LLAMA = {
    "model_type": "llama",
    "vocab_size": 32016,
    "max_position_embeddings": 16384,
    "rope_theta": 1000000.0,
}
_QWEN_CODER = {
    "model_type": "qwen2",
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
    "rope_theta": 1000000.0,
}
_SMALL_QWEN_CODER = {**_QWEN_CODER, "vocab_size": 151936, "tie_word_embeddings": True}


def _sizes(family: Mapping[str, Any], hidden: int, wide: int, layers: int, heads: int, kv_heads: int) -> dict[str, Any]:
    return {
        **family,
        "hidden_size": hidden,
        "intermediate_size": wide,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
    }


_CONFIGS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "code-llama-7b": _sizes(_CODE_LLAMA, 4096, 11008, 32, 32, 32),
        "code-llama-13b": _sizes(_CODE_LLAMA, 5120, 13824, 40, 40, 40),
        "code-llama-34b": {**_sizes(_CODE_LLAMA, 8192, 22016, 48, 64, 8), "vocab_size": 32000},
        "code-llama-70b": _sizes(_CODE_LLAMA, 8192, 28672, 80, 64, 8),
        "llama-2-70b": {
            **_sizes(_CODE_LLAMA, 8192, 28672, 80, 64, 8),
            **{"vocab_size": 32000, "max_position_embeddings": 4096, "rope_theta": 10000.0},
        },
        "llama-3.1-8b": _sizes(_LLAMA_3, 4096, 14336, 32, 32, 8),
        "llama-3.1-70b": _sizes(_LLAMA_3, 8192, 28672, 80, 64, 8),
        "llama-3.2-1b": {**_sizes(_LLAMA_32, 2048, 8192, 16, 32, 8), "head_dim": 64},
        "llama-3.2-3b": _sizes(_LLAMA_32, 3072, 8192, 28, 24, 8),
        "llama-3.3-70b": _sizes(_LLAMA_3, 8192, 28672, 80, 64, 8),
        "qwen2.5-coder-0.5b": _sizes(_SMALL_QWEN_CODER, 896, 4864, 24, 14, 2),
        "qwen2.5-coder-1.5b": _sizes(_SMALL_QWEN_CODER, 1536, 8960, 28, 12, 2),
        "qwen2.5-coder-3b": _sizes(_SMALL_QWEN_CODER, 2048, 11008, 36, 16, 2),
        "qwen2.5-coder-7b": _sizes(_QWEN_CODER, 3584, 18944, 28, 28, 4),
        "qwen2.5-coder-14b": _sizes(_QWEN_CODER, 5120, 13824, 48, 40, 8),
        "qwen2.5-coder-32b": _sizes(_QWEN_CODER, 5120, 27648, 64, 40, 8),
    }
)


@dataclass(frozen=True, slots=True)
class PlannedModel:
    """A model to be planned for."""

    name: str
    shape: ModelShape
    path: str | None = None  # of its folder, if it has been found


def model_names() -> tuple[str, ...]:
    """Those that can be planned for by name."""
    return tuple(_CONFIGS)


def find_model(name: str) -> PlannedModel:
    """A named model, or that of a checkpoint folder.

    Raises:
        ConfigError: there is neither; says which names there are. Also what `read_shape` raises for a folder.
    """
    config = _CONFIGS.get(name.lower())
    if config is not None:
        return PlannedModel(name.lower(), shape_of(config, Path(name)))
    folder = Path(name)
    if name and folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ConfigError(f"{folder} has no config.json: name the folder of a checkpoint, or one of the models")
        return PlannedModel(folder.resolve().name, read_shape(folder), str(folder.resolve()))
    raise ConfigError(
        f"model {name!r} is neither a checkpoint folder nor a name known here; choose of {', '.join(_CONFIGS)}"
    )
