"""Rounding equals torch's, and what is written is what the safetensors library reads."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.torch import load

from llama4coder.checkpoint.bfloat16_file import round_to_bfloat16, total_bytes, write_bfloat16
from tests.support.progress import CountingProgress


@given(arrays.arrays(np.float32, 8, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_rounding_equals_torch(values: npt.NDArray[np.float32]) -> None:
    expected = torch.from_numpy(values).to(torch.bfloat16).view(torch.uint16)
    assert round_to_bfloat16(values).tolist() == expected.tolist()


@dataclass(frozen=True)
class InParts:
    name: str
    values: npt.NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def parts(self) -> Iterator[npt.NDArray[np.float32]]:
        yield from np.array_split(self.values, 2)


def test_safetensors_reads_what_was_written() -> None:
    first = InParts("first", np.arange(6, dtype=np.float32).reshape(3, 2))
    second = InParts("second", np.array([-1.5], dtype=np.float32))
    file, progress = BytesIO(), CountingProgress()
    write_bfloat16(file, [first, second], progress)
    tensors = load(file.getvalue())
    assert tensors["first"].tolist() == first.values.tolist()
    assert tensors["second"].tolist() == [-1.5]
    assert tensors["first"].dtype == torch.bfloat16
    assert progress.done == total_bytes([first, second]) == 14
