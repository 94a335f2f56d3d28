"""Writing a safetensors file tensor by tensor, so that a model larger than memory can be converted.

The format: 8 bytes with the length of a JSON header, little-endian; the header, which gives each tensor's dtype, shape
and place; then the tensors' bytes one after the other.
"""

import json
import math
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from llama4coder.progress import Progress

BFLOAT16_BYTES = 2


class TensorSource(Protocol):
    """One tensor to write: its name and shape beforehand, its rows in parts."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    def parts(self) -> Iterator[npt.NDArray[np.float32]]:
        """The values in row-major order, in parts of bounded size."""
        ...


def total_bytes(tensors: Sequence[TensorSource]) -> int:
    """Bytes of all tensors in bfloat16."""
    return sum(math.prod(tensor.shape) * BFLOAT16_BYTES for tensor in tensors)


def write_bfloat16(file: BinaryIO, tensors: Sequence[TensorSource], progress: Progress) -> None:
    """Write `tensors` in bfloat16; advances `progress` by bytes."""
    header = _header(tensors)
    file.write(len(header).to_bytes(8, "little"))
    file.write(header)
    for tensor in tensors:
        for part in tensor.parts():
            data = round_to_bfloat16(part).tobytes()
            file.write(data)
            progress.advance(len(data))


def round_to_bfloat16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """The bits of finite `values` in bfloat16: the upper half of a float32, rounded to nearest, ties to even."""
    bits = values.view(np.uint32)
    return ((bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16).astype("<u2")


def _header(tensors: Sequence[TensorSource]) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for tensor in tensors:
        end = start + math.prod(tensor.shape) * BFLOAT16_BYTES
        entries[tensor.name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    header = json.dumps(entries, separators=(",", ":")).encode("utf-8")
    return header + b" " * (-len(header) % 8)  # the tensors begin at a multiple of 8
