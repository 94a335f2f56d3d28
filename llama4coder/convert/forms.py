"""A quantised matrix as tensors of a checkpoint, and what `config.json` says about it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from llama4coder.checkpoint.stored_quant import ABSMAX, SCALES
from llama4coder.config import QuantFormat
from llama4coder.convert.nested import NESTED_GROUP, NestedScales, dynamic_map
from llama4coder.kv.sizing import NF4_GROUP
from llama4coder.quant.formats import NF4_LEVELS, Fp8Weights, Nf4Weights

_ALIGNMENT = 8  # of a file's tensors: what follows texts has to begin at a multiple of the size of its numbers


class WeightForm(Protocol):
    """How matrices are written."""

    @property
    def quant(self) -> QuantFormat: ...

    def tensors(self, module: str, weight: Tensor) -> Mapping[str, Tensor]:
        """By their names, in place of `module`'s weight `[out_features, in_features]`."""
        ...

    def settings(self, left_out: Sequence[str]) -> Mapping[str, object]:
        """`quantization_config`, for a model of which these modules are left out."""
        ...


@dataclass(frozen=True, slots=True)
class BitsAndBytesNf4:
    """bitsandbytes' Linear4bit, as its version 0.50 writes it; with scales in 8 bits if `is_double`."""

    is_double: bool
    dtype: str  # of products, such as `bfloat16`
    quant: QuantFormat = "nf4"

    def tensors(self, module: str, weight: Tensor) -> Mapping[str, Tensor]:
        """See `WeightForm`."""
        rounded = Nf4Weights.of(weight)
        scales = rounded.largest.flatten()
        state: dict[str, object] = {
            "quant_type": "nf4",
            "blocksize": NF4_GROUP,
            "dtype": self.dtype,
            "shape": list(weight.shape),
        }
        parts = {ABSMAX: scales, ".weight.quant_map": torch.tensor(NF4_LEVELS)}
        if self.is_double:
            nested = NestedScales.of(scales)
            parts |= {ABSMAX: nested.codes, ".weight.nested_absmax": nested.largest}
            parts |= {".weight.nested_quant_map": dynamic_map()}
            state |= {
                "nested_blocksize": NESTED_GROUP,
                "nested_dtype": "float32",
                "nested_offset": nested.offset,
            }
        parts |= {
            ".weight": rounded.nibbles.reshape(-1, 1),
            ".weight.quant_state.bitsandbytes__nf4": _text(json.dumps(state)),
        }
        return {module + mark: tensor for mark, tensor in parts.items()}

    def settings(self, left_out: Sequence[str]) -> Mapping[str, object]:
        """See `WeightForm`."""
        return {
            "quant_method": "bitsandbytes",
            "load_in_4bit": True,
            "load_in_8bit": False,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": self.is_double,
            "bnb_4bit_compute_dtype": self.dtype,
            "bnb_4bit_quant_storage": "uint8",
            "llm_int8_skip_modules": list(left_out),
        }


@dataclass(frozen=True, slots=True)
class CompressedFp8:
    """compressed-tensors' float-quantized: a scale per output, and activations rounded at run time, each token."""

    quant: QuantFormat = "fp8"

    def tensors(self, module: str, weight: Tensor) -> Mapping[str, Tensor]:
        """See `WeightForm`."""
        rounded = Fp8Weights.of(weight)
        return {f"{module}.weight": rounded.values, module + SCALES[0]: rounded.scales[:, None]}

    def settings(self, left_out: Sequence[str]) -> Mapping[str, object]:
        """See `WeightForm`."""
        eight_bits = {"num_bits": 8, "type": "float", "symmetric": True}
        return {
            "quant_method": "compressed-tensors",
            "format": "float-quantized",
            "quantization_status": "compressed",
            "config_groups": {
                "group_0": {
                    "targets": ["Linear"],
                    "weights": {**eight_bits, "strategy": "channel", "dynamic": False},
                    "input_activations": {**eight_bits, "strategy": "token", "dynamic": True},
                }
            },
            "ignore": list(left_out),
        }


def _text(text: str) -> Tensor:
    """Its bytes, with spaces at the end, which JSON ignores."""
    data = text.encode("utf-8")
    return torch.tensor(list(data + b" " * (-len(data) % _ALIGNMENT)), dtype=torch.uint8)
