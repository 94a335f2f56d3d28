"""Writing a large checkpoint as safetensors files of a bounded size, tensor by tensor."""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import torch
from torch import Tensor

from llama4coder.checkpoint.weight_files import INDEX_FILE

MAX_SHARD_BYTES = 5 * 10**9

_HEADER_BYTES = 2**20  # kept free before the tensors, since what they are is known when they are written
_MAX_TENSORS = 4000  # whose entries surely fit into it
_ALIGNMENT = 8
_NAMES: Mapping[torch.dtype, str] = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.int8: "I8",
    torch.uint8: "U8",
}


@dataclass(slots=True)
class _Shard:
    path: Path
    file: BinaryIO
    entries: dict[str, object] = field(default_factory=dict)
    num_bytes: int = 0
    unaligned: dict[str, Tensor] = field(default_factory=dict)  # come last: what followed them could not be mapped
    unaligned_bytes: int = 0

    @classmethod
    def open(cls, path: Path) -> "_Shard":
        file = path.open("wb")
        file.write(bytes(8 + _HEADER_BYTES))
        return cls(path, file)

    def is_full(self, more_bytes: int, max_bytes: int) -> bool:
        num_bytes = self.num_bytes + self.unaligned_bytes + more_bytes
        return bool(self.names) and (num_bytes > max_bytes or len(self.names) >= _MAX_TENSORS)

    @property
    def names(self) -> list[str]:
        return [*self.entries, *self.unaligned]

    def add(self, name: str, tensor: Tensor) -> None:
        if tensor.nbytes % _ALIGNMENT:
            self.unaligned[name] = tensor
            self.unaligned_bytes += tensor.nbytes
        else:
            self._write(name, tensor)

    def close(self) -> None:
        for name, tensor in sorted(self.unaligned.items(), key=lambda item: -item[1].element_size()):
            self._write(name, tensor)
        header = json.dumps({"__metadata__": {"format": "pt"}, **self.entries}, separators=(",", ":")).encode("utf-8")
        self.file.seek(0)
        self.file.write(_HEADER_BYTES.to_bytes(8, "little") + header.ljust(_HEADER_BYTES))
        self.file.close()

    def _write(self, name: str, tensor: Tensor) -> None:
        end = self.num_bytes + tensor.nbytes
        entry = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [self.num_bytes, end]}
        self.entries[name] = entry
        tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tofile(self.file)
        self.num_bytes = end


class ShardWriter(AbstractContextManager["ShardWriter"]):
    """Files `model-i-of-n.safetensors` and their index; they have their names when the context ends well."""

    def __init__(self, folder: Path, max_bytes: int = MAX_SHARD_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._shards: list[_Shard] = []

    def add(self, tensors: Mapping[str, Tensor]) -> None:
        """These go into one file."""
        num_bytes = sum(tensor.nbytes for tensor in tensors.values())
        if not self._shards or self._shards[-1].is_full(num_bytes, self._max_bytes):
            self._close_last()
            self._shards.append(_Shard.open(self._folder / f".{len(self._shards)}.safetensors"))
        for name, tensor in tensors.items():
            self._shards[-1].add(name, tensor)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            if self._shards:
                self._shards[-1].file.close()
            return
        self._close_last()
        weight_map: dict[str, str] = {}
        for index, shard in enumerate(self._shards, start=1):
            name = f"model-{index:05d}-of-{len(self._shards):05d}.safetensors"
            shard.path.rename(self._folder / name)
            weight_map |= dict.fromkeys(shard.names, name)
        content = {"metadata": {"total_size": sum(shard.num_bytes for shard in self._shards)}, "weight_map": weight_map}
        (self._folder / INDEX_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def _close_last(self) -> None:
        if self._shards:
            self._shards[-1].close()
