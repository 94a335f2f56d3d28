"""How a GGUF file scales its positions, as Hugging Face's `rope_parameters` say it."""

from dataclasses import dataclass

import numpy as np

from llama4coder.checkpoint.gguf_file import GgufFile
from llama4coder.errors import CheckpointError

FREQUENCY_FACTORS = "rope_freqs.weight"  # divides each pair's frequency; how llama.cpp writes Llama 3's scaling

_YARN_NUMBERS = {"yarn_beta_fast": "beta_fast", "yarn_beta_slow": "beta_slow"}


@dataclass(frozen=True, slots=True)
class RotatedModel:
    """What a scaling depends on besides itself."""

    architecture: str
    head_dim: int
    context_length: int


def rope_parameters(file: GgufFile, model: RotatedModel) -> dict[str, object]:
    """Type, theta and what the type needs; `CheckpointError` for a scaling that is not supported."""
    base = f"{model.architecture}.rope.freq_base"
    theta = file.number(base) if file.has(base) else 10000.0
    return {"rope_theta": theta, **_scaling(file, model)}


def _scaling(file: GgufFile, model: RotatedModel) -> dict[str, object]:
    prefix = f"{model.architecture}.rope.scaling"
    kind = file.text(f"{prefix}.type") if file.has(f"{prefix}.type") else "none"
    if FREQUENCY_FACTORS in file.tensors:
        if kind != "none":
            raise CheckpointError(f"{file.path} scales its RoPE twice, which the conversion does not support")
        return _by_factors(file, model)
    if kind == "none":
        return {"rope_type": "default"}
    if kind == "linear":
        return {"rope_type": "linear", "factor": file.number(f"{prefix}.factor")}
    if kind == "yarn":
        return _yarn(file, prefix, model.context_length)
    raise CheckpointError(f"{file.path} scales its RoPE by {kind}, which the conversion does not support")


def _yarn(file: GgufFile, prefix: str, context_length: int) -> dict[str, object]:
    if file.has(f"{prefix}.yarn_log_multiplier") or file.has(f"{prefix}.yarn_attn_factor"):
        raise CheckpointError(f"{file.path} scales its attention apart from its RoPE, which is not supported")
    original = file.optional_integer(f"{prefix}.original_context_length") or context_length
    tuned = {name: file.number(f"{prefix}.{key}") for key, name in _YARN_NUMBERS.items() if file.has(f"{prefix}.{key}")}
    factor = file.number(f"{prefix}.factor")
    return {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original, **tuned}


def _by_factors(file: GgufFile, model: RotatedModel) -> dict[str, object]:
    """LongRoPE with the same factors for every context is a division of frequencies and nothing else."""
    factors = np.asarray(file.tensors[FREQUENCY_FACTORS].data)
    is_fitting = factors.dtype == np.float32 and factors.shape == (model.head_dim // 2,)
    if not is_fitting or not (np.isfinite(factors) & (factors > 0)).all():
        raise file.damaged(f"{FREQUENCY_FACTORS} does not hold a positive number for each pair of features")
    values = [float(factor) for factor in factors]
    return {
        "rope_type": "longrope",
        "short_factor": values,
        "long_factor": values,
        "attention_factor": 1.0,
        "original_max_position_embeddings": model.context_length,
    }
