"""Where the kernels run: on a GPU if there is one, else in triton's interpreter."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support import interpreter


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With a GPU the whole folder is the GPU suite: `pytest -m gpu`."""
    if torch.cuda.is_available():
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="session")
def half() -> torch.dtype:
    """What models run in."""
    return torch.bfloat16


@pytest.fixture(scope="session", autouse=True)
def mended_interpreter(device: torch.device) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if device.type != "cuda":
            interpreter.mend(patch.setattr)
        yield
