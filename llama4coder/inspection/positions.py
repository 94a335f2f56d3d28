"""How far a model sees: its context, the rotation of positions, and a window if it has one."""

from collections.abc import Mapping
from dataclasses import dataclass

from llama4coder.inspection.files import ModelFiles
from llama4coder.shape import ModelShape, rope_parameters

_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "seq_length")
_ROPE_KEYS = ("rope_theta", "rope_scaling", "rope_parameters")
_LAYER_KINDS = ("full_attention", "sliding_attention")  # where each kind of layer has its own rotation


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary positions; see `transformers.modeling_rope_utils` for what the types mean."""

    rope_type: str
    theta: float | None
    factor: float | None  # by which the context is stretched
    original_context_length: int | None  # that it is stretched from


@dataclass(frozen=True, slots=True)
class Positions:
    """None where config.json does not say, or there is none."""

    context_length: int | None  # tokens
    sliding_window: int | None  # tokens that a layer looks back
    rope: Rope | None


def read_positions(files: ModelFiles, shape: ModelShape | None) -> Positions:
    """As the engine would have them; of models that it does not know, what config.json says."""
    if shape is not None:
        return Positions(shape.num_positions, shape.window, _rope_of(shape.rope))
    return Positions(files.count(*_CONTEXT_KEYS), _sliding_window(files), _rope(files))


def _sliding_window(files: ModelFiles) -> int | None:
    """Families that say so separately may have a window written down and not use it."""
    if files.setting("use_sliding_window") is False:
        return None
    return files.count("sliding_window")


def _rope(files: ModelFiles) -> Rope | None:
    own = {key: files.setting(key) for key in _ROPE_KEYS if files.setting(key) is not None}
    return _rope_of(_of_one_kind(rope_parameters(own))) if own else None


def _rope_of(values: Mapping[str, object]) -> Rope:
    return Rope(
        rope_type=str(values.get("rope_type", "default")),
        theta=_number(values.get("rope_theta")),
        factor=_number(values.get("factor")),
        original_context_length=_whole(values.get("original_max_position_embeddings")),
    )


def _of_one_kind(values: Mapping[str, object]) -> Mapping[str, object]:
    for kind in _LAYER_KINDS:
        inner = values.get(kind)
        if isinstance(inner, dict):
            return inner
    return values


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
