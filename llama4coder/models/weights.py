"""One rank's part of the tensors of a checkpoint folder, in floating point."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llama4coder.checkpoint.harmless import is_harmless
from llama4coder.checkpoint.quant_settings import read_quant_settings
from llama4coder.checkpoint.stored_quant import MARKS
from llama4coder.checkpoint.weight_files import WeightFiles
from llama4coder.config import Device, DType
from llama4coder.errors import CheckpointError
from llama4coder.exclusions import NOTHING, Exclusions
from llama4coder.models.stored import dequantise_into, open_stored, size_of
from llama4coder.models.tensors import PLAIN, MappedTensors
from llama4coder.parallel.plan import RankPlan, TensorSlice
from llama4coder.progress import Progress


@dataclass(frozen=True, slots=True)
class Placement:
    """In which type and on which device weights and KV live."""

    dtype: torch.dtype
    device: torch.device
    exclusions: Exclusions = NOTHING  # what lives in this type even if weights are quantised

    @classmethod
    def of(cls, dtype: DType, device: Device, exclusions: Sequence[str] = ()) -> "Placement":
        """By the configuration's names, which are torch's own, and its patterns."""
        return cls(getattr(torch, dtype), torch.device(device), Exclusions(tuple(exclusions)))


class WeightReader:
    """Reads one rank's part of each tensor in the served dtype onto the device, each once, and reports the bytes read.

    Files are mapped into memory: what belongs to other ranks is never read. What is quantised is dequantised a few rows
    at a time.
    """

    def __init__(self, files: WeightFiles, plan: RankPlan, placement: Placement, progress: Progress) -> None:
        self._tensors = MappedTensors(files)
        self._settings = read_quant_settings(files.folder)
        self._plan = plan
        self._placement = placement
        self._progress = progress

    @property
    def num_bytes(self) -> int:
        """What this rank reads of all tensors; `CheckpointError` for a damaged file."""
        tied = self._plan.shape.tied_embeddings
        names = (name for name in self._tensors.names if not is_harmless(name, tied_embeddings=tied))
        num_bytes = sum(self._share_bytes(name) for name in names if not name.endswith(MARKS))
        self._tensors.close()
        return num_bytes

    def read(self, name: str, size: Sequence[int]) -> Tensor:
        """This rank's part of one tensor of the expected size.

        Raises:
            CheckpointError: it is missing, of another size or type, or its file is damaged.
        """
        part = self._plan.slice_of(name, tuple(size))
        stored = open_stored(self._tensors, name, size, self._settings)
        if stored is None:
            view = self._plain(name, size, part)
            tensor = view.to(device=self._placement.device, dtype=self._placement.dtype)
        else:
            tensor = self._empty(part.size)
            dequantise_into(tensor, stored, part)
        self._done_with(name)
        return tensor

    def read_rows(self, names: Sequence[str], sizes: Sequence[Sequence[int]]) -> Tensor:
        """Several tensors stacked along their first axis, without a second copy of them."""
        if len(names) == 1:
            return self.read(names[0], sizes[0])
        parts = [self._plan.slice_of(name, tuple(size)) for name, size in zip(names, sizes, strict=True)]
        rows = [part.size[0] for part in parts]
        stacked = self._empty((sum(rows), *parts[0].size[1:]))
        for out, name, size, part in zip(torch.split(stacked, rows), names, sizes, parts, strict=True):
            stored = open_stored(self._tensors, name, size, self._settings)
            if stored is None:
                out.copy_(self._plain(name, size, part))
            else:
                dequantise_into(out, stored, part)
            self._done_with(name)
        return stacked

    def check_all_read(self) -> None:
        """Raise `CheckpointError` for a tensor that the model has no place for, after all of it was read.

        Only the first rank has a use for every tensor.
        """
        if not self._plan.holds_bias:
            return
        tied = self._plan.shape.tied_embeddings
        left = sorted(name for name in self._tensors.never_taken if not is_harmless(name, tied_embeddings=tied))
        if left:
            raise CheckpointError(
                f"{self._tensors.path_of(left[0])} has a tensor {left[0]}, which a model as config.json describes it "
                f"does not have ({len(left)} such tensors): the answers would be wrong without it"
            )

    def _empty(self, size: tuple[int, ...]) -> Tensor:
        return torch.empty(size, dtype=self._placement.dtype, device=self._placement.device)

    def _done_with(self, name: str) -> None:
        self._progress.advance(self._share_bytes(name))
        self._tensors.close()

    def _plain(self, name: str, size: Sequence[int], part: TensorSlice) -> Tensor:
        tensor = self._tensors.take_sized(name, size)
        if tensor.dtype not in PLAIN:
            raise CheckpointError(
                f"{self._tensors.path_of(name)}: {name} is {tensor.dtype}, and its scales, if it is quantised, are not "
                "there under a name that is known here"
            )
        return tensor[part.rows] if part.columns is None else tensor[part.rows, part.columns]

    def _share_bytes(self, name: str) -> int:
        """Of a tensor and its scales, as much as this rank reads of their weights."""
        size = tuple(size_of(self._tensors, name))
        if len(size) not in (1, 2) or not math.prod(size):
            return 0
        module = name.removesuffix(".weight")
        scales = [module + mark for mark in MARKS if module + mark in self._tensors.names] if module != name else []
        num_bytes = sum(self._tensors.peek(each).nbytes for each in (name, *scales))
        return num_bytes * math.prod(self._plan.slice_of(name, size).size) // math.prod(size)
