"""How weights are stored, where they are not in one of the usual types.

Sources: the `quantization_config` of Hugging Face's transformers, by its `quant_method`, and the configuration of
compressed-tensors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llama4coder.inspection.files import ModelFiles, Source, TensorHeader

_PLAIN_GGUF = frozenset({"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8"})
_FIXED_BITS = {"fbgemm_fp8": 8, "fp8": 8, "finegrained_fp8": 8, "mxfp4": 4}


@dataclass(frozen=True, slots=True)
class Quantisation:
    """One way of storing weights; the same word for the method as in `quantization_config`."""

    method: str
    bits: int | None  # of a weight; None where they differ or are not told
    detail: str  # the method's own words for its variant; may be empty


def read_quantisation(files: ModelFiles) -> Quantisation | None:
    """None for weights in floating point of 16 bits or more."""
    if files.source is Source.GGUF:
        return _of_gguf(files.tensors)
    entry = files.setting("quantization_config", "compression_config")
    return _of_entry(entry) if isinstance(entry, dict) else None


def _of_gguf(tensors: Sequence[TensorHeader]) -> Quantisation | None:
    kinds = sorted({tensor.dtype for tensor in tensors} - _PLAIN_GGUF)
    return Quantisation("gguf", None, ", ".join(kinds)) if kinds else None


def _of_entry(entry: Mapping[str, object]) -> Quantisation:
    if entry.get("load_in_4bit"):
        return Quantisation("bitsandbytes", 4, str(entry.get("bnb_4bit_quant_type", "fp4")))
    if entry.get("load_in_8bit"):
        return Quantisation("bitsandbytes", 8, "int8")
    method = str(entry.get("quant_method", "unknown"))
    if method == "compressed-tensors":
        return _of_groups(entry)
    bits = _whole(entry.get("bits", entry.get("w_bit"))) or _FIXED_BITS.get(method)
    return Quantisation(method, bits, ", ".join(_variants(entry)))


def _of_groups(entry: Mapping[str, object]) -> Quantisation:
    """compressed-tensors describes the weights of each group of layers by itself; the first one speaks for all."""
    groups = entry.get("config_groups")
    first = next(iter(groups.values()), None) if isinstance(groups, dict) else None
    weights = first.get("weights") if isinstance(first, dict) else None
    settings = weights if isinstance(weights, dict) else {}
    words = (entry.get("format"), settings.get("type"))
    return Quantisation(
        "compressed-tensors", _whole(settings.get("num_bits")), ", ".join(str(word) for word in words if word)
    )


def _variants(entry: Mapping[str, object]) -> list[str]:
    shown = {"group_size": "groups of", "weight_block_size": "blocks of"}
    return [f"{words} {entry[key]}" for key, words in shown.items() if entry.get(key) is not None]


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
