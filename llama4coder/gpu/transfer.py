"""Between host and device without waiting for either."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def upload(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """A tensor of the same values; on a GPU it is there for everything that the current stream is given from now on.

    Each copy has a pinned buffer of its own. Torch does not hand that out again before the copy is done, so any number
    of steps may be in flight. On a CPU nothing is copied: the tensor is the array.
    """
    tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def download(tensor: Tensor) -> Tensor:
    """A copy on the host, to be read when a `Moment` after it has come; on a CPU the tensor itself."""
    if tensor.device.type == "cpu":
        return tensor
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in the work of a device: on a CPU now, on a GPU when the stream has done what it was given before."""

    time_s: float
    event: torch.cuda.Event | None

    @classmethod
    def of(cls, device: torch.device) -> "Moment":
        if device.type == "cpu":
            return cls(time.perf_counter(), None)
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return cls(0.0, event)

    def has_come(self) -> bool:
        """Without waiting."""
        return self.event is None or bool(self.event.query())  # type: ignore[no-untyped-call]

    def wait(self) -> None:
        """Block this thread, and only this one, until the moment has come."""
        if self.event is not None:
            self.event.synchronize()

    def seconds_since(self, earlier: "Moment") -> float:
        """Time of the device between two moments that have come."""
        if self.event is None or earlier.event is None:
            return self.time_s - earlier.time_s
        return float(earlier.event.elapsed_time(self.event)) / 1000


def indices(values: list[int], device: torch.device) -> Tensor:
    """Whole numbers as an int64 index."""
    return upload(np.array(values, dtype=np.int64), device)
