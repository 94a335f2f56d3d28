"""Which quantised checkpoints are read, and what `config.json` says about how they were made."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import cast

from llama4coder.errors import CheckpointError
from llama4coder.shape import MatrixShape
from llama4coder.tokenizer.files import read_json

_FP8_BLOCK = MatrixShape(128, 128)


class StoredKind(Enum):
    """How a checkpoint keeps quantised matrices; see `models.stored`."""

    BNB_4BIT = "bitsandbytes 4-bit"
    BNB_8BIT = "bitsandbytes 8-bit"
    FP8 = "FP8"


@dataclass(frozen=True, slots=True)
class QuantSettings:
    """What `config.json` says; which matrices are quantised is told by the tensors themselves."""

    kind: StoredKind
    block: MatrixShape = _FP8_BLOCK  # weights of FP8 that share a scale, where scales form a grid


def read_quant_settings(folder: Path) -> QuantSettings | None:
    """None where nothing is quantised.

    Raises:
        CheckpointError: config.json is damaged, or the method is not one that is read here.
    """
    raw = read_json(folder / "config.json")
    settings = raw.get("quantization_config", raw.get("compression_config"))
    if settings is None:
        return None
    if not isinstance(settings, dict):
        raise CheckpointError(f"{folder / 'config.json'}: quantization_config is not a JSON object")
    return _Parser(folder / "config.json", settings).parse()


@dataclass(frozen=True, slots=True)
class _Parser:
    path: Path
    raw: Mapping[str, object]

    def parse(self) -> QuantSettings:
        method = self.raw.get("quant_method")
        if method == "bitsandbytes" or (method is None and self._loads_bits()):
            return QuantSettings(StoredKind.BNB_4BIT if self.raw.get("load_in_4bit") else self._eight_bits())
        if method in ("fp8", "fbgemm_fp8"):
            return QuantSettings(StoredKind.FP8, self._block(self.raw.get("weight_block_size")))
        if method == "compressed-tensors":
            return QuantSettings(StoredKind.FP8, self._compressed())
        raise self._refused(f"the quantisation method {method!r}")

    def _loads_bits(self) -> bool:
        return bool(self.raw.get("load_in_4bit") or self.raw.get("load_in_8bit"))

    def _eight_bits(self) -> StoredKind:
        if not self.raw.get("load_in_8bit"):
            raise self._refused("bitsandbytes with neither load_in_4bit nor load_in_8bit")
        return StoredKind.BNB_8BIT

    def _compressed(self) -> MatrixShape:
        """Groups of modules may differ in all but the block: scales tell tensor, channel and block apart."""
        groups = self.raw.get("config_groups")
        if not isinstance(groups, dict) or not groups:
            raise self._refused("compressed-tensors without config_groups")
        if _is_sparse(self.raw.get("sparsity_config")):
            raise self._refused("compressed-tensors with sparsity")
        blocks = {self._group_block(name, group) for name, group in groups.items()}
        if len(blocks) > 1:
            raise self._refused("compressed-tensors with blocks of several sizes")
        return blocks.pop()

    def _group_block(self, name: object, group: object) -> MatrixShape:
        own = group if isinstance(group, dict) else {}
        weights = own.get("weights")
        form = own.get("format") or self.raw.get("format")
        settings = weights if isinstance(weights, dict) else {}
        if form != "float-quantized" or settings.get("type") != "float" or settings.get("num_bits") != 8:
            kind = f"{settings.get('type')} of {settings.get('num_bits')} bits"
            raise self._refused(f"compressed-tensors {form} ({name}: {kind})")
        return self._block(settings.get("block_structure"))

    def _block(self, value: object) -> MatrixShape:
        if value is None:
            return _FP8_BLOCK
        if isinstance(value, list) and len(value) == 2 and all(type(size) is int and size > 0 for size in value):
            return MatrixShape(*cast(list[int], value))
        raise CheckpointError(f"{self.path}: {value!r} is no block of FP8 weights, such as [128, 128]")

    def _refused(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"{self.path}: {what} is not read by this engine, which reads bitsandbytes (4 and 8 bits), "
            "compressed-tensors float-quantized, fbgemm_fp8 and fp8: serve it by vLLM, or take or make a checkpoint in "
            "one of these forms, or in bfloat16 with model.quant"
        )


def _is_sparse(value: object) -> bool:
    return isinstance(value, dict) and value.get("format") not in (None, "dense")
