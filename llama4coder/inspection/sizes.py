"""What a model takes in each format, by the engine's own arithmetic, and whether the format would be served here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

from llama4coder.config import DeploymentConfig, DType, EngineConfig, KVFormat, ModelConfig, QuantFormat
from llama4coder.kv.sizing import BLOCK_SIZE, kv_bytes_per_block, weight_bytes
from llama4coder.parallel.plan import RankPlan
from llama4coder.shape import ModelShape

_UNQUANTISED: DType = "bfloat16"

Refusal = Callable[[DeploymentConfig], str | None]
"""Why a model would not be served so on this machine; None if it would."""


@dataclass(frozen=True, slots=True)
class FormatSize:
    """One format of `model.quant` or `engine.kv_format`; what it leaves as it is counts in bfloat16."""

    name: str
    num_bytes: float  # of all weights, or of keys and values of one token
    refusal: str | None  # why it would not be served here


@dataclass(frozen=True, slots=True)
class Sizes:
    """On one rank, in every format that there is."""

    weights: tuple[FormatSize, ...]
    kv_per_token: tuple[FormatSize, ...]


def sizes_of(shape: ModelShape, refusal: Refusal) -> Sizes:
    """In bytes, from `kv.sizing`."""
    plan = RankPlan.alone(shape)
    weights = (
        FormatSize(
            _UNQUANTISED if quant == "none" else quant,
            weight_bytes(plan, _UNQUANTISED, quant),
            refusal(DeploymentConfig(model=ModelConfig(quant=quant))),
        )
        for quant in get_args(QuantFormat)
    )
    kv_per_token = (
        FormatSize(
            kv_format,
            kv_bytes_per_block(plan, _UNQUANTISED, kv_format) / BLOCK_SIZE,
            refusal(DeploymentConfig(engine=EngineConfig(kv_format=kv_format))),
        )
        for kv_format in get_args(KVFormat)
    )
    return Sizes(tuple(weights), tuple(kv_per_token))
