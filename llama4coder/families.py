"""What sets the served families apart from Llama, by what their `config.json` says and leaves out."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from llama4coder.errors import CheckpointError

_SLIDING, _FULL = "sliding_attention", "full_attention"


@dataclass(frozen=True, slots=True)
class Family:
    """One `model_type`; `defaults` are transformers' own for keys that a file leaves out."""

    model_type: str
    defaults: Mapping[str, Any]
    qkv_bias: bool = False  # always there, and announced nowhere
    qk_norm: bool = False
    may_slide: bool = False  # has `sliding_window`, which other families ignore
    skips_rotation: bool = False  # in the layers that `no_rope_layers` marks with 0


_SLIDES_ON_REQUEST = {"sliding_window": 4096, "use_sliding_window": False, "max_window_layers": 28}

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.model_type: family
        for family in (
            Family("llama", {"max_position_embeddings": 2048}),
            Family(
                "mistral",
                {"max_position_embeddings": 131072, "sliding_window": 4096, "num_key_value_heads": 8},
                may_slide=True,
            ),
            Family("qwen2", {"max_position_embeddings": 32768, **_SLIDES_ON_REQUEST}, qkv_bias=True, may_slide=True),
            Family(
                "qwen3",
                {"max_position_embeddings": 32768, "head_dim": 128, **_SLIDES_ON_REQUEST},
                qk_norm=True,
                may_slide=True,
            ),
            Family(
                "smollm3",
                {
                    "max_position_embeddings": 32768,
                    "num_key_value_heads": 4,
                    "rope_theta": 2_000_000.0,
                    "tie_word_embeddings": True,
                    "no_rope_layer_interval": 4,
                },
                skips_rotation=True,
            ),
        )
    }
)


def family_of(raw: Mapping[str, Any]) -> Family:
    """By `model_type`; `CheckpointError`, naming who could serve it, for one that is not served here."""
    model_type = raw.get("model_type")
    family = FAMILIES.get(model_type) if isinstance(model_type, str) else None
    if family is None:
        raise CheckpointError(
            f"model_type {model_type!r} is not served by this engine, which serves {', '.join(FAMILIES)}; "
            "vLLM (`vllm serve`) or Hugging Face Transformers (`transformers serve`) may serve it"
        )
    return family


def window_of(raw: Mapping[str, Any], family: Family, num_layers: int) -> int | None:
    """How many tokens each token sees, itself included; None for all.

    Raises:
        CheckpointError: it is not the same in all layers, or no positive number.
    """
    kinds = set(_layer_kinds(raw, family, num_layers))
    if kinds <= {_FULL}:
        return None
    window = raw.get("sliding_window")
    if kinds != {_SLIDING}:
        raise CheckpointError(
            f"layers differ in their attention ({', '.join(sorted(kinds))}), which this engine does not serve; "
            "vLLM or Hugging Face Transformers do"
        )
    if not isinstance(window, int) or isinstance(window, bool) or window <= 0:
        raise CheckpointError(f"sliding_window is {window!r}, not a positive integer")
    return window


def unrotated_layers(raw: Mapping[str, Any], family: Family, num_layers: int) -> tuple[int, ...]:
    """Layers whose queries and keys know no positions; raises `CheckpointError`."""
    if not family.skips_rotation:
        return ()
    rotates = raw.get("no_rope_layers")
    if rotates is None:
        interval = raw.get("no_rope_layer_interval")
        if not isinstance(interval, int) or interval <= 0:
            raise CheckpointError(f"no_rope_layer_interval is {interval!r}, not a positive integer")
        return tuple(range(interval - 1, num_layers, interval))
    if not isinstance(rotates, list) or len(rotates) < num_layers or not set(rotates) <= {0, 1}:
        raise CheckpointError(f"no_rope_layers is {rotates!r}, not a list of 0 and 1, one for each layer")
    return tuple(layer for layer in range(num_layers) if not rotates[layer])


def _layer_kinds(raw: Mapping[str, Any], family: Family, num_layers: int) -> list[str]:
    """Of each layer, as transformers derives it."""
    kinds = raw.get("layer_types")
    if kinds is not None:
        if not isinstance(kinds, list) or len(kinds) < num_layers:
            raise CheckpointError(f"layer_types is {kinds!r}, not a list of {num_layers} kinds")
        return [str(kind) for kind in kinds[:num_layers]]
    if not family.may_slide or raw.get("sliding_window") is None or not raw.get("use_sliding_window", True):
        return [_FULL] * num_layers
    first = raw.get("max_window_layers", 0)
    if not isinstance(first, int):
        raise CheckpointError(f"max_window_layers is {first!r}, not an integer")
    return [_SLIDING if layer >= first else _FULL for layer in range(num_layers)]
