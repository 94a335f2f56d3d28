"""Which formats are compared: every wanted one of the weights with every wanted one of KV blocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast, get_args

from llama4coder.config import EngineConfig, KVFormat, ModelConfig, QuantFormat
from llama4coder.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Format:
    """How a model is kept: `model.quant` and `engine.kv_format`."""

    quant: QuantFormat
    kv_format: KVFormat

    def __str__(self) -> str:
        return f"{self.quant} + {self.kv_format}"


BASELINE = Format("none", "dense")


def quant_choices() -> tuple[str, ...]:
    """What `model.quant` may be."""
    return literals(ModelConfig.model_fields["quant"].annotation)


def kv_choices() -> tuple[str, ...]:
    """What `engine.kv_format` may be."""
    return literals(EngineConfig.model_fields["kv_format"].annotation)


def all_pairs(quants: Sequence[str], kv_formats: Sequence[str]) -> tuple[Format, ...]:
    """Each once, the baseline first whether it is wanted or not; texts may hold several names, with commas.

    Raises:
        ConfigError: a name is none of the configuration's.
    """
    chosen_quants = _names("--quant", quants, quant_choices())
    chosen_kv = _names("--kv", kv_formats, kv_choices())
    pairs = [
        Format(cast(QuantFormat, quant), cast(KVFormat, kv_format))
        for quant in chosen_quants or [BASELINE.quant]
        for kv_format in chosen_kv or [BASELINE.kv_format]
    ]
    return tuple(dict.fromkeys((BASELINE, *pairs)))


def literals(annotation: object) -> tuple[str, ...]:
    """The strings that a setting's type allows, in their order."""
    found: list[str] = []
    for part in get_args(annotation):
        found += [part] if isinstance(part, str) else literals(part)
    return tuple(found)


def _names(option: str, texts: Sequence[str], known: Sequence[str]) -> list[str]:
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise ConfigError(f"{option} {name}: there is no such format; choose of {', '.join(known)}")
    return names
