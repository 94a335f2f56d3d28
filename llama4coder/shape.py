"""The dimensions of a model, read from its `config.json`; everything sizing and the forward pass need to know."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llama4coder.errors import CheckpointError

SUPPORTED_MODEL_TYPES = ("llama", "qwen2")


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A Llama-family decoder; names follow the glossary, not the file. Families differ in nothing else."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rms_norm_eps: float
    max_position: int
    tied_embeddings: bool
    qkv_bias: bool
    attention_out_bias: bool
    mlp_bias: bool
    rope: Mapping[str, object]  # transformers' `rope_parameters`: rope_type, rope_theta and what the type needs

    @property
    def layer_matrices(self) -> tuple["MatrixShape", ...]:
        """Of one layer: merged query, key and value; attention output; merged gate and up; down."""
        queries, key_values = self.num_heads * self.head_dim, 2 * self.num_kv_heads * self.head_dim
        return (
            MatrixShape(queries + key_values, self.hidden_size),
            MatrixShape(self.hidden_size, queries),
            MatrixShape(2 * self.intermediate_size, self.hidden_size),
            MatrixShape(self.hidden_size, self.intermediate_size),
        )

    @property
    def num_parameters(self) -> int:
        """Weights of the matrices; norms and biases are below one in a thousand and left out."""
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tied_embeddings else 2)
        return self.num_layers * sum(matrix.size for matrix in self.layer_matrices) + embeddings


@dataclass(frozen=True, slots=True)
class MatrixShape:
    """Weights `[out_features, in_features]`."""

    out_features: int
    in_features: int

    @property
    def size(self) -> int:
        return self.out_features * self.in_features


def read_shape(folder: Path) -> ModelShape:
    """Read `config.json` of a checkpoint folder.

    Raises:
        CheckpointError: the file is missing or damaged, or the model is not of a family served here.
    """
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise CheckpointError(f"{path} does not hold a JSON object")
    return shape_of(raw, path)


def shape_of(raw: Mapping[str, object], path: Path) -> ModelShape:
    """The dimensions in the content of a `config.json`, which errors call `path`.

    Raises:
        CheckpointError: it is damaged, or the model is not of a family served here.
    """
    model_type = raw.get("model_type")
    if model_type not in SUPPORTED_MODEL_TYPES:
        raise CheckpointError(
            f"{path}: model_type {model_type!r} is not served by this engine, "
            f"which serves {', '.join(SUPPORTED_MODEL_TYPES)}"
        )
    return _parse(raw, path)


def _parse(raw: Mapping[str, object], path: Path) -> ModelShape:
    def integer(key: str, default: int | None = None) -> int:
        value = raw.get(key)
        value = default if value is None else value
        if not isinstance(value, int) or value <= 0:
            raise CheckpointError(f"{path}: {key} is {value!r}, not a positive integer")
        return value

    if raw.get("hidden_act", "silu") != "silu":
        raise CheckpointError(f"{path}: hidden_act {raw['hidden_act']!r} is not supported, only silu")
    if raw.get("use_sliding_window"):
        raise CheckpointError(f"{path}: use_sliding_window is not supported")
    has_bias = bool(raw.get("attention_bias", False))
    hidden_size, num_heads = integer("hidden_size"), integer("num_attention_heads")
    num_kv_heads = integer("num_key_value_heads", num_heads)
    if num_heads % num_kv_heads:
        raise CheckpointError(f"{path}: {num_heads} attention heads cannot share {num_kv_heads} KV heads evenly")
    return ModelShape(
        vocab_size=integer("vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=integer("intermediate_size"),
        num_layers=integer("num_hidden_layers"),
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=integer("head_dim", hidden_size // num_heads),
        rms_norm_eps=_number(raw, "rms_norm_eps", 1e-6, path),
        max_position=integer("max_position_embeddings", 2048),
        tied_embeddings=bool(raw.get("tie_word_embeddings", False)),
        qkv_bias=has_bias or raw["model_type"] == "qwen2",  # which has it always, and says so nowhere
        attention_out_bias=has_bias,
        mlp_bias=bool(raw.get("mlp_bias", False)),
        rope=rope_parameters(raw),
    )


def _number(raw: Mapping[str, object], key: str, default: float, path: Path) -> float:
    value = raw.get(key, default)
    if not isinstance(value, int | float):
        raise CheckpointError(f"{path}: {key} is {value!r}, not a number")
    return float(value)


def rope_parameters(raw: Mapping[str, object]) -> Mapping[str, object]:
    """Both spellings in use: `rope_parameters` (transformers 5) and `rope_theta` with `rope_scaling` (before)."""
    merged: dict[str, object] = {"rope_type": "default", "rope_theta": raw.get("rope_theta", 10_000.0)}
    for key in ("rope_scaling", "rope_parameters"):
        value = raw.get(key)
        if isinstance(value, dict):
            merged.update(value)
    legacy_type = merged.pop("type", None)
    if legacy_type is not None and merged["rope_type"] == "default":
        merged["rope_type"] = legacy_type
    return merged
