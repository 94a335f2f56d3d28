"""A tiny model on disk, and processes to compare before and after."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.models import write_tiny_llama


@pytest.fixture(scope="session")
def tiny_args(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Deployment arguments for a model that loads at once."""
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    write_tiny_llama(folder, tokenizer=True, max_position_embeddings=4096)
    return {
        "model": {"path": str(folder), "dtype": "float32"},
        "engine": {"kv_memory_bytes": 64 * 2**20, "num_threads": 1, "max_queued_requests": 64},
    }


def checkpoint_of(args: dict[str, Any]) -> Path:
    return Path(args["model"]["path"])
