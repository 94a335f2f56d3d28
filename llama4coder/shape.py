"""The dimensions of a model, read from its `config.json`; everything sizing and the forward pass need to know."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llama4coder.errors import CheckpointError
from llama4coder.families import Family, family_of, unrotated_layers, window_of

_LARGEST_INTEGER = 2**31  # of a damaged file that would have us count for hours
_MOST_LAYERS = 1000
_EXTENDED_BY_FACTOR = ("yarn", "dynamic")  # scalings whose `max_position_embeddings` may be that before them


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A Llama-family decoder; names follow the glossary, not the file. Families differ in nothing else.

    The last three are for few families: norms of each query and key head; how many tokens a token sees, itself included
    (None: all before it); and layers that do not rotate queries and keys.
    """

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
    qk_norm: bool = False
    window: int | None = None
    unrotated_layers: tuple[int, ...] = ()

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

    def window_in(self, context_length: int) -> int | None:
        """How far back tokens of such contexts see; None where that is everything."""
        return self.window if self.window is not None and self.window < context_length else None

    @property
    def num_positions(self) -> int:
        """The longest context that the model is meant for."""
        if self.rope.get("rope_type") not in _EXTENDED_BY_FACTOR:
            return self.max_position
        original, factor = self.rope.get("original_max_position_embeddings", self.max_position), self.rope.get("factor")
        if not isinstance(original, int) or not isinstance(factor, int | float):
            return self.max_position
        return max(self.max_position, int(original * factor))

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


def read_shape(folder: Path, rope_scaling: Mapping[str, Any] | None = None) -> ModelShape:
    """Read `config.json` of a checkpoint folder; `rope_scaling` takes the place of its own.

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
    return shape_of(raw if rope_scaling is None else _rescaled(raw, rope_scaling), path)


def shape_of(raw: Mapping[str, Any], path: Path) -> ModelShape:
    """The dimensions in the content of a `config.json`, which errors call `path`.

    Raises:
        CheckpointError: it is damaged, or the model is not of a family served here.
    """
    try:
        return _parse(raw, family_of(raw))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _parse(found: Mapping[str, Any], family: Family) -> ModelShape:
    raw = {**family.defaults, **found}

    def integer(key: str, default: int | None = None) -> int:
        value = raw.get(key)
        value = default if value is None else value
        if type(value) is not int or not 0 < value <= _LARGEST_INTEGER:
            raise CheckpointError(f"{key} is {value!r}, not a positive integer that a model can have")
        return value

    if raw.get("hidden_act", "silu") != "silu":
        raise CheckpointError(f"hidden_act {raw['hidden_act']!r} is not supported, only silu")
    has_bias = bool(raw.get("attention_bias", False))
    hidden_size, num_heads = integer("hidden_size"), integer("num_attention_heads")
    num_layers, num_kv_heads = integer("num_hidden_layers"), integer("num_key_value_heads", num_heads)
    if num_layers > _MOST_LAYERS:
        raise CheckpointError(f"num_hidden_layers is {num_layers}, more than {_MOST_LAYERS}")
    if num_heads % num_kv_heads:
        raise CheckpointError(f"{num_heads} attention heads cannot share {num_kv_heads} KV heads evenly")
    return ModelShape(
        vocab_size=integer("vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=integer("intermediate_size"),
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=_head_dim(integer("head_dim", hidden_size // num_heads)),
        rms_norm_eps=_eps(raw.get("rms_norm_eps", 1e-6)),
        max_position=integer("max_position_embeddings"),
        tied_embeddings=bool(raw.get("tie_word_embeddings", False)),
        qkv_bias=has_bias or family.qkv_bias,
        attention_out_bias=has_bias,
        mlp_bias=bool(raw.get("mlp_bias", False)),
        rope=_whole_heads(rope_parameters(raw)),
        qk_norm=family.qk_norm,
        window=window_of(raw, family, num_layers),
        unrotated_layers=unrotated_layers(raw, family, num_layers),
    )


def _rescaled(raw: Mapping[str, Any], rope_scaling: Mapping[str, Any]) -> Mapping[str, Any]:
    theta = rope_parameters(raw)["rope_theta"]
    others = {key: value for key, value in raw.items() if key not in ("rope_parameters", "rope_scaling")}
    return {**others, "rope_parameters": {"rope_theta": theta, **rope_scaling}}


def _head_dim(head_dim: int) -> int:
    """Positions rotate pairs of features."""
    if head_dim % 2:
        raise CheckpointError(f"heads of {head_dim} features cannot be rotated, only even ones")
    return head_dim


def _eps(value: object) -> float:
    if not isinstance(value, int | float) or not 0 <= value < 1:
        raise CheckpointError(f"rms_norm_eps is {value!r}, not a small number")
    return float(value)


def rope_parameters(raw: Mapping[str, Any]) -> Mapping[str, object]:
    """Both spellings in use: `rope_parameters` (transformers 5) and `rope_theta` with `rope_scaling` (before)."""
    merged: dict[str, object] = {"rope_type": "default", "rope_theta": raw.get("rope_theta", 10_000.0)}
    for key in ("original_max_position_embeddings", "partial_rotary_factor"):  # some files have them outside
        if raw.get(key) is not None:
            merged[key] = raw[key]
    for key in ("rope_scaling", "rope_parameters"):
        value = raw.get(key)
        if isinstance(value, dict):
            merged.update(value)
    legacy_type = merged.pop("type", None)
    if legacy_type is not None and merged["rope_type"] == "default":
        merged["rope_type"] = legacy_type
    return merged


def _whole_heads(rope: Mapping[str, object]) -> Mapping[str, object]:
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise CheckpointError("partial_rotary_factor: heads that are rotated in part are not served by this engine")
    return {key: value for key, value in rope.items() if key != "partial_rotary_factor"}
