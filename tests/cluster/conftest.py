"""A tiny model on disk, and what both ends of the road to it need."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.channel.token_receiver import TokenReceiver
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


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_llama(folder, tokenizer=True)
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
async def receiver() -> AsyncIterator[TokenReceiver]:
    receiver = TokenReceiver("127.0.0.1")
    yield receiver
    await receiver.close()
