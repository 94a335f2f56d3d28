"""A real server with the embedded model, as a developer's own would be."""

from collections.abc import Iterator

import pytest

from tests.support.live_server import LiveServer, live_server

MODEL = "smollm2-135m-instruct"
ARGS = {
    "model": {"path": "embedded", "name": MODEL, "dtype": "float32", "context_length": 8192},
    "engine": {"kv_memory_bytes": 800 * 2**20},
}


@pytest.fixture(scope="session")
def server() -> Iterator[LiveServer]:
    with live_server(ARGS) as server:
        yield server
