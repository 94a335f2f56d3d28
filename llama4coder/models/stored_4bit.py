"""Matrices as bitsandbytes keeps them in 4 bits (`QuantState.as_dict`, version 0.50).

The weights of a matrix in row-major order, two in a byte, the first in its high half; consecutive groups share a scale,
which may itself be kept in 8 bits: an index into a map, times the scale of 256 such, plus one offset.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llama4coder.checkpoint.stored_quant import ABSMAX, STATES
from llama4coder.errors import CheckpointError
from llama4coder.models.tensors import MappedTensors
from llama4coder.quant.formats import levels_of

_LARGEST_GROUP = 2**16


@dataclass(frozen=True, slots=True)
class StoredFourBit:
    """Implements `models.stored.StoredMatrix`."""

    packed: Tensor  # uint8 [out_features * in_features / 2]
    largest: Tensor  # float32 [out_features * in_features / group]
    levels: Tensor  # float32 [16]
    group: int
    in_features: int

    @classmethod
    def open(cls, tensors: MappedTensors, module: str, size: Sequence[int]) -> "StoredFourBit":
        """Raises `CheckpointError` for tensors that do not fit together."""
        return _Opening(tensors, module, size, read_state(tensors, module)).open()

    def dequantise(self, rows: slice, columns: slice, device: torch.device) -> Tensor:
        """See `StoredMatrix`."""
        if self.in_features % self.group == 0:
            return self._span(self.in_features, rows, columns, device)
        # Groups go on from one row to the next: whole rows, as a part of one long line.
        line = slice(rows.start * self.in_features, rows.stop * self.in_features)
        values = self._span(2 * len(self.packed), slice(0, 1), line, device)
        return values.view(-1, self.in_features)[:, columns]

    def _span(self, width: int, lines: slice, columns: slice, device: torch.device) -> Tensor:
        """Columns of lines of this width, read from the group where they begin to the one where they end."""
        first = columns.start // self.group
        last = -(-columns.stop // self.group)
        low, high = first * self.group, min(last * self.group, width)
        packed = self.packed.view(-1, width // 2)[lines, low // 2 : high // 2].to(device)
        scales = self.largest.view(-1, -(-width // self.group))[lines, first:last].to(device)
        values = levels_of(packed, self.levels.to(device))
        values *= scales.repeat_interleave(self.group, dim=1)[:, : high - low]
        return values[:, columns.start - low : columns.stop - low]


def read_state(tensors: MappedTensors, module: str) -> Mapping[str, object]:
    """What bitsandbytes says of a matrix in JSON; raises `CheckpointError` if it is missing or damaged."""
    name = next((name for name in (module + mark for mark in STATES) if name in tensors.names), module + STATES[0])
    raw = tensors.take(name)
    try:
        content = json.loads(bytes(raw.reshape(-1).view(torch.uint8).tolist()).decode("utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{tensors.path_of(name)}: {name} is damaged ({error})") from error
    if not isinstance(content, dict):
        raise tensors.wrong(name, "not a JSON object", "one")
    return content


@dataclass(frozen=True, slots=True)
class _Opening:
    tensors: MappedTensors
    module: str
    size: Sequence[int]
    state: Mapping[str, object]

    def open(self) -> StoredFourBit:
        weight, num_weights = f"{self.module}.weight", math.prod(self.size)
        if self.state.get("shape") != list(self.size):
            raise self.tensors.wrong(weight, self.state.get("shape"), f"{list(self.size)} by config.json")
        group = self._count("blocksize")
        packed = self.tensors.take(weight).reshape(-1).view(torch.uint8)  # whatever type it is stored as
        if num_weights % 2 or group % 2 or len(packed) != num_weights // 2:
            raise self.tensors.wrong(weight, f"{len(packed)} bytes", f"{num_weights} times 4 bits, in even groups")
        largest = self._largest(self._vector(ABSMAX, -(-num_weights // group)))
        levels = self._vector(".weight.quant_map", 16).float()
        return StoredFourBit(packed, largest, levels, group, self.size[1])

    def _largest(self, absmax: Tensor) -> Tensor:
        if absmax.dtype != torch.uint8:
            return absmax.float()
        outer, offset = self._count("nested_blocksize"), self.state.get("nested_offset")
        if not isinstance(offset, int | float):
            raise self.tensors.wrong(self.module + ABSMAX, "quantised itself", "a nested_offset")
        scales = self._vector(".weight.nested_absmax", -(-len(absmax) // outer)).float()
        levels = self._vector(".weight.nested_quant_map", 256).float()
        return levels[absmax.int()] * scales.repeat_interleave(outer)[: len(absmax)] + offset

    def _count(self, key: str) -> int:
        value = self.state.get(key)
        if type(value) is not int or not 1 <= value <= _LARGEST_GROUP:
            raise self.tensors.wrong(f"{self.module}.weight", f"of {key} {value!r}", f"1 to {_LARGEST_GROUP}")
        return value

    def _vector(self, mark: str, length: int) -> Tensor:
        name = self.module + mark
        tensor = self.tensors.take(name).reshape(-1)
        if len(tensor) != length:
            raise self.tensors.wrong(name, f"{len(tensor)} numbers", length)
        return tensor
