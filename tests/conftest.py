"""What every test gets: no network for the hub clients, and torch left as it was found."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before any import of the hub clients, which read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
if shutil.which("nvidia-smi") is None:  # read when triton is imported, which transformers does: kernels run in numpy
    os.environ["TRITON_INTERPRET"] = "1"

# Time says nothing here: CI's machine has two cores, and the tests are not alone on it.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def torch_defaults() -> Iterator[None]:
    """Give back the default dtype; tests that do not use torch must not pay for its import."""
    torch = sys.modules.get("torch")
    before = torch.get_default_dtype() if torch is not None else None
    yield
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_default_dtype(before or torch.float32)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer and its chat template."""
    from tests.support.tiny import write_tiny_tokenizer

    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_tokenizer(folder)
    return folder
