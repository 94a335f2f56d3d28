"""The tensors of a checkpoint as views of its files: what is not looked at is not read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from llama4coder.checkpoint.weight_files import WeightFiles, damaged
from llama4coder.errors import CheckpointError

PLAIN = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
"""Types of weights that are not quantised."""


class MappedTensors:
    """Files stay open, and mapped into memory, until `close`, and as long as any of their tensors is in use."""

    def __init__(self, files: WeightFiles) -> None:
        self._files = files
        self._opened: dict[str, Any] = {}
        self._taken: set[str] = set()

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._files.file_of)

    @property
    def never_taken(self) -> frozenset[str]:
        """Names that nobody has asked for by `take`."""
        return self.names - self._taken

    def path_of(self, name: str) -> Path:
        """Where it lies; raises `CheckpointError` for a tensor that is missing."""
        file = self._files.file_of.get(name)
        if file is None:
            raise CheckpointError(f"{self._files.folder} has no tensor {name}; the checkpoint is incomplete")
        return self._files.folder / file

    def take(self, name: str) -> Tensor:
        """A view, not to be written to; raises `CheckpointError` for a tensor that is missing or damaged."""
        self._taken.add(name)
        return self.peek(name)

    def peek(self, name: str) -> Tensor:
        """The same, for its size and type only."""
        path = self.path_of(name)
        try:
            if path.name not in self._opened:
                self._opened[path.name] = safe_open(path, framework="pt")
            tensor: Tensor = self._opened[path.name].get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise damaged(path, error) from error
        return tensor

    def close(self) -> None:
        """Give back the memory of what was looked at; what is looked at later opens its file again."""
        self._opened.clear()

    def wrong(self, name: str, found: object, expected: object) -> CheckpointError:
        """For a tensor that is not what it has to be."""
        return CheckpointError(f"{self.path_of(name)}: {name} is {found}, expected {expected}")

    def take_sized(self, name: str, size: Sequence[int]) -> Tensor:
        """`take`, of the size that config.json asks for."""
        tensor = self.take(name)
        if tensor.shape != tuple(size):
            raise self.wrong(name, list(tensor.shape), f"{list(size)} by config.json")
        return tensor
