"""Rotary position embedding; the frequencies of every scaling kind come from transformers."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from llama4coder.errors import CheckpointError
from llama4coder.shape import ModelShape


@dataclass(frozen=True, slots=True)
class RopeTable:
    """Cosines and sines of every served position, each `[max_position, head_dim]`."""

    cos: Tensor
    sin: Tensor

    def at(self, positions: Tensor) -> "Rotation":
        """The rotations of `positions` `[num_tokens]`, gathered once per step and used by every layer."""
        return Rotation(self.cos.index_select(0, positions), self.sin.index_select(0, positions))


@dataclass(frozen=True, slots=True)
class Rotation:
    """Cosines and sines of a step's tokens, each `[num_tokens, head_dim]`."""

    cos: Tensor
    sin: Tensor

    @property
    def none(self) -> "Rotation":
        """That of as many tokens which leaves them as they are."""
        return Rotation(torch.ones_like(self.cos), torch.zeros_like(self.sin))

    def __call__(self, x: Tensor) -> Tensor:
        """Rotate queries or keys `[num_tokens, num_heads, head_dim]`, half against half as Hugging Face stores them."""
        half = x.shape[-1] // 2
        rotated = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
        return x * self.cos.unsqueeze(1) + rotated * self.sin.unsqueeze(1)


def build_rope(shape: ModelShape, context_length: int, dtype: torch.dtype, device: torch.device) -> RopeTable:
    """Tabulate the rotations of positions 0 to `context_length`; angles in float32.

    Raises:
        CheckpointError: an unknown or incomplete RoPE scaling.
    """
    frequencies, scale = _frequencies(shape, context_length)
    positions = torch.arange(context_length, dtype=torch.float32)
    angles = torch.outer(positions, frequencies.float())
    angles = torch.cat((angles, angles), dim=-1)
    return RopeTable(
        (angles.cos() * scale).to(device=device, dtype=dtype), (angles.sin() * scale).to(device=device, dtype=dtype)
    )


def _frequencies(shape: ModelShape, context_length: int) -> tuple[Tensor, float]:
    rope_type = shape.rope.get("rope_type", "default")
    if rope_type == "default":
        exponents = torch.arange(0, shape.head_dim, 2, dtype=torch.float32) / shape.head_dim
        return 1.0 / (_number(shape.rope, "rope_theta") ** exponents), 1.0
    # Imported only for scaled models: it costs over half a second of start-up.
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    if rope_type not in ROPE_INIT_FUNCTIONS:
        known = ", ".join(sorted(ROPE_INIT_FUNCTIONS))
        raise CheckpointError(f"rope_type {rope_type!r} of config.json is unknown; known are default, {known}")
    try:
        config = LlamaConfig(
            hidden_size=shape.hidden_size,
            num_attention_heads=shape.num_heads,
            head_dim=shape.head_dim,
            max_position_embeddings=shape.max_position,
            rope_parameters=dict(shape.rope),
        )
        frequencies, scale = ROPE_INIT_FUNCTIONS[rope_type](config, torch.device("cpu"), seq_len=context_length)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the RoPE parameters of config.json are incomplete or wrong: {error}") from error
    return frequencies, float(scale)


def _number(values: Mapping[str, object], key: str) -> float:
    value = values.get(key)
    if not isinstance(value, int | float) or value <= 0:
        raise CheckpointError(f"{key} of config.json is {value!r}, not a positive number")
    return float(value)
