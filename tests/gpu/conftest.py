"""Where the kernels run: on a GPU if there is one, else in triton's interpreter."""

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="session")
def half(device: torch.device) -> torch.dtype:
    """The interpreter multiplies no bfloat16 matrices."""
    return torch.bfloat16 if device.type == "cuda" else torch.float16
