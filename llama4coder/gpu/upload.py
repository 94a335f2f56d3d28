"""From numpy to the device without waiting for it."""

from typing import Any

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
