"""Quantised matrices as checkpoints keep them, and any part of one in floating point."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from llama4coder.checkpoint.quant_settings import QuantSettings
from llama4coder.checkpoint.stored_quant import ABSMAX, SCALES, SCB
from llama4coder.models.stored_4bit import StoredFourBit, read_state
from llama4coder.models.tensors import MappedTensors
from llama4coder.parallel.plan import TensorSlice
from llama4coder.shape import MatrixShape

_WEIGHTS_AT_ONCE = 2**22  # whose float32 values are held while they are put into the dtype of the model


class StoredMatrix(Protocol):
    """Views of a matrix `[out_features, in_features]` and of its scales; only what is asked for is read."""

    def dequantise(self, rows: slice, columns: slice, device: torch.device) -> Tensor:
        """A part in float32, computed on a device."""
        ...


@dataclass(frozen=True, slots=True)
class StoredInt8:
    """bitsandbytes in 8 bits: the largest of a row is 127."""

    values: Tensor  # int8 [out_features, in_features]
    largest: Tensor  # float32 [out_features]

    @classmethod
    def open(cls, tensors: MappedTensors, module: str, size: Sequence[int]) -> "StoredInt8":
        """Raises `CheckpointError` for tensors that do not fit together."""
        values = tensors.take_sized(f"{module}.weight", size)
        if values.dtype != torch.int8:
            raise tensors.wrong(f"{module}.weight", values.dtype, "int8 beside SCB")
        return cls(values, tensors.take_sized(module + SCB, size[:1]))

    def dequantise(self, rows: slice, columns: slice, device: torch.device) -> Tensor:
        """See `StoredMatrix`."""
        scales = self.largest[rows].to(device).float() / 127
        return self.values[rows, columns].to(device).float() * scales[:, None]


@dataclass(frozen=True, slots=True)
class StoredFp8:
    """FP8 (e4m3) with a scale for all weights, for each row, or for each block."""

    values: Tensor  # float8_e4m3fn [out_features, in_features]
    scales: Tensor  # [blocks of rows, blocks of columns], of any floating type
    block: MatrixShape

    @classmethod
    def open(cls, tensors: MappedTensors, module: str, size: Sequence[int], grid: MatrixShape) -> "StoredFp8":
        """Raises `CheckpointError` for tensors that do not fit together."""
        values = tensors.take_sized(f"{module}.weight", size)
        if values.dtype != torch.float8_e4m3fn:
            raise tensors.wrong(f"{module}.weight", values.dtype, "float8_e4m3fn beside its scales")
        name = next(module + mark for mark in SCALES if module + mark in tensors.names)
        scales = tensors.take(name)
        if not scales.is_floating_point():
            raise tensors.wrong(name, scales.dtype, "a floating type")
        block = _block_of(scales, size, grid)
        if block is None:
            raise tensors.wrong(name, list(scales.shape), f"scales of a tensor, its rows, or blocks of {grid}")
        return cls(values, scales.reshape(-(-size[0] // block.out_features), -1), block)

    def dequantise(self, rows: slice, columns: slice, device: torch.device) -> Tensor:
        """See `StoredMatrix`."""
        block_rows = torch.arange(rows.start, rows.stop) // self.block.out_features
        block_columns = torch.arange(columns.start, columns.stop) // self.block.in_features
        scales = self.scales.float()[block_rows]
        scales = scales if scales.shape[1] == 1 else scales[:, block_columns]
        return self.values[rows, columns].to(device).float() * scales.to(device)


def _block_of(scales: Tensor, size: Sequence[int], grid: MatrixShape) -> MatrixShape | None:
    """How many weights share one of these scales; None where they do not fit the matrix."""
    out_features, in_features = size
    if scales.numel() == 1:
        return MatrixShape(out_features, in_features)
    if scales.shape in ((out_features,), (out_features, 1)):
        return MatrixShape(1, in_features)
    fits = scales.shape == (-(-out_features // grid.out_features), -(-in_features // grid.in_features))
    return grid if fits else None


def open_stored(
    tensors: MappedTensors, name: str, size: Sequence[int], settings: QuantSettings | None
) -> StoredMatrix | None:
    """The matrix `name`, of the size that config.json asks for, or None if it is not quantised.

    Raises:
        CheckpointError: its tensors do not fit together.
    """
    module = name.removesuffix(".weight")
    if len(size) != 2 or module == name:
        return None
    if module + ABSMAX in tensors.names:
        return StoredFourBit.open(tensors, module, size)
    if module + SCB in tensors.names:
        return StoredInt8.open(tensors, module, size)
    if any(module + mark in tensors.names for mark in SCALES):
        grid = settings.block if settings is not None else MatrixShape(128, 128)
        return StoredFp8.open(tensors, module, size, grid)
    return None


def size_of(tensors: MappedTensors, name: str) -> Sequence[int]:
    """That of the matrix which a tensor holds, whatever size it is stored as; raises `CheckpointError`."""
    module = name.removesuffix(".weight")
    if module + ABSMAX not in tensors.names:
        return tuple(tensors.peek(name).shape)
    size = read_state(tensors, module).get("shape")
    if not isinstance(size, list) or len(size) != 2 or not all(type(part) is int and part > 0 for part in size):
        raise tensors.wrong(name, f"of shape {size!r}", "two positive numbers")
    return size


def dequantise_into(out: Tensor, matrix: StoredMatrix, part: TensorSlice) -> None:
    """Fill `out` with a part, a few rows at a time."""
    columns = part.columns or slice(0, 0)
    for rows in _row_slices(part.rows, columns.stop - columns.start):
        taken = slice(rows.start - part.rows.start, rows.stop - part.rows.start)
        out[taken] = matrix.dequantise(rows, columns, out.device)


def _row_slices(rows: slice, width: int) -> Iterator[slice]:
    step = max(1, _WEIGHTS_AT_ONCE // max(1, width))
    for first in range(rows.start, rows.stop, step):
        yield slice(first, min(first + step, rows.stop))
