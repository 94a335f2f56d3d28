"""Tensors by name from the safetensors files of a checkpoint folder."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from llama4coder.config import Device, DType
from llama4coder.errors import CheckpointError
from llama4coder.parallel.plan import RankPlan, TensorSlice
from llama4coder.progress import Progress

_BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2}  # of what is read; other tensors are none of ours


@dataclass(frozen=True, slots=True)
class Placement:
    """In which type and on which device weights and KV live."""

    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, dtype: DType, device: Device) -> "Placement":
        """By the configuration's names, which are torch's own."""
        return cls(getattr(torch, dtype), torch.device(device))


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """Where each tensor of a checkpoint lies; nothing is read before `load`."""

    folder: Path
    file_of: Mapping[str, str]  # tensor name -> file name

    @classmethod
    def find(cls, folder: Path) -> "WeightFiles":
        """Read the index, or the header of the only file.

        Raises:
            CheckpointError: no safetensors, a damaged index, or a file that lies outside the folder.
        """
        index = folder / "model.safetensors.index.json"
        if index.exists():
            return cls(folder, _read_index(index))
        files = sorted(path.name for path in folder.glob("*.safetensors"))
        if not files:
            raise CheckpointError(f"{folder} holds no .safetensors file; other weight formats are not loaded")
        return cls(folder, {name: file for file in files for name in _tensor_names(folder / file)})


class WeightReader:
    """Reads one rank's part of each tensor in the served dtype onto the device, each once, and reports the bytes read.

    Files are mapped into memory: what belongs to other ranks is never read.
    """

    def __init__(self, files: WeightFiles, plan: RankPlan, placement: Placement, progress: Progress) -> None:
        self._files = files
        self._plan = plan
        self._placement = placement
        self._progress = progress

    @property
    def num_bytes(self) -> int:
        """What this rank reads of all tensors; `CheckpointError` for a damaged file."""
        return sum(self._bytes_of(file) for file in set(self._files.file_of.values()))

    def read(self, name: str, size: Sequence[int]) -> Tensor:
        """This rank's part of one tensor of the expected size.

        Raises:
            CheckpointError: it is missing, of another size, or its file is damaged.
        """
        file = self._files.file_of.get(name)
        if file is None:
            raise CheckpointError(f"{self._files.folder} has no tensor {name}; the checkpoint is incomplete")
        path = self._files.folder / file
        try:
            with safe_open(path, framework="pt") as opened:
                found = opened.get_slice(name)
                if found.get_shape() != list(size):
                    raise CheckpointError(
                        f"{path}: {name} is {found.get_shape()}, expected {list(size)} by config.json"
                    )
                tensor: Tensor = _part(found, self._plan.slice_of(name, tuple(size)))
        except (OSError, SafetensorError) as error:
            raise _damaged(path, error) from error
        if not tensor.is_floating_point():
            raise CheckpointError(f"{path}: {name} is {tensor.dtype}; quantised checkpoints are not loaded")
        self._progress.advance(tensor.nbytes)
        return tensor.to(device=self._placement.device, dtype=self._placement.dtype)

    def read_rows(self, names: Sequence[str], sizes: Sequence[Sequence[int]]) -> Tensor:
        """Several tensors stacked along their first axis."""
        return torch.cat([self.read(name, size) for name, size in zip(names, sizes, strict=True)])

    def _bytes_of(self, file: str) -> int:
        path = self._files.folder / file
        try:
            with safe_open(path, framework="pt") as opened:
                names = [name for name in opened.keys() if self._files.file_of.get(name) == file]
                return sum(self._part_bytes(name, opened.get_slice(name)) for name in names)
        except (OSError, SafetensorError) as error:
            raise _damaged(path, error) from error

    def _part_bytes(self, name: str, found: Any) -> int:
        size = tuple(found.get_shape())
        if len(size) not in (1, 2):
            return 0
        return math.prod(self._plan.slice_of(name, size).size) * _BYTES.get(found.get_dtype(), 0)


def _part(found: Any, part: TensorSlice) -> Any:
    return found[part.rows] if part.columns is None else found[part.rows, part.columns]


def _read_index(index: Path) -> Mapping[str, str]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = {str(name): str(file) for name, file in weight_map.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} cannot be read: {error!r}") from error
    for file in set(files.values()):
        if Path(file).name != file:
            raise CheckpointError(f"{index} names {file!r}, which is not a file of this folder")
        if not (index.parent / file).is_file():
            raise CheckpointError(f"{index} names {file}, which is missing; copy the whole folder again")
    return files


def _tensor_names(path: Path) -> list[str]:
    try:
        with safe_open(path, framework="pt") as opened:
            return list(opened.keys())
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path} is damaged ({error}); copy or convert the model again")
