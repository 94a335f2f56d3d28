"""One real server with the embedded model in float32, for the whole folder."""

import time
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest
from openai import AsyncOpenAI, OpenAI
from prometheus_client.parser import text_string_to_metric_families

from tests.support.live_server import LiveServer, live_server

MODEL = "smollm2-135m-instruct"
CONTEXT_LENGTH = 4096
RECOVERY_TIMEOUT_S = 5.0  # short: answers take longer
ARGS = {
    "model": {"path": "embedded", "name": MODEL, "dtype": "float32", "context_length": CONTEXT_LENGTH},
    "engine": {"kv_memory_bytes": 400 * 2**20, "max_queued_requests": 40},
    "speculation": {"method": "ngram"},
    "server": {"max_body_bytes": 2**20, "keep_alive_s": 0.5, "recovery_timeout_s": RECOVERY_TIMEOUT_S},
}


@pytest.fixture(scope="session")
def server() -> Iterator[LiveServer]:
    with live_server(ARGS) as server:
        yield server


@pytest.fixture
def http(server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=120) as client:
        yield client


@pytest.fixture
def openai(server: LiveServer) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def async_openai(server: LiveServer) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=240) as client:
        yield client


@pytest.fixture
def used_blocks(http: httpx.Client) -> Callable[[], float]:
    """KV blocks that sequences hold, from the deployment's own metrics."""

    def read() -> float:
        families = text_string_to_metric_families(http.get("/metrics").text)
        samples = [sample for family in families if family.name == "llama4coder_kv_blocks" for sample in family.samples]
        assert sum(sample.value for sample in samples) > 0, "no pool is reported"
        return sum(sample.value for sample in samples if sample.labels["state"] == "used")

    return read


@pytest.fixture(autouse=True)
def every_block_comes_back(used_blocks: Callable[[], float]) -> Iterator[None]:
    """After each test, whatever it did to its requests, no sequence holds a block."""
    yield
    deadline_s = time.monotonic() + 30
    while used_blocks() > 0:
        assert time.monotonic() < deadline_s, "blocks leaked"
        time.sleep(0.2)
