"""A replica that spans two nodes with addresses of their own, one of which is lost under streams."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support.models import write_tiny_llama
from tests.support.two_nodes import TwoNodes, can_make_nodes, two_nodes
from tests.support.watching import RANK, command_line

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not can_make_nodes(), reason="needs root, for network namespaces"),
]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    write_tiny_llama(folder, tokenizer=True, max_position_embeddings=4096)
    args = {
        "model": {"path": str(folder), "dtype": "float32"},
        "engine": {"device": "cpu", "kv_memory_bytes": 32 * 2**20, "ranks": 2, "num_threads": 1},
        "placement": {"ranks_per_node": [1, 1], "front_labels": {"node": "head"}},
    }
    with two_nodes(args) as nodes:
        yield nodes


def complete(nodes: TwoNodes, number: int) -> dict[str, Any]:
    sampling = {"temperature": 0} if number % 2 else {"temperature": 0.9, "seed": number}
    body = {"model": "tiny", "prompt": f"def function_{number}(", "max_tokens": 500, "ignore_eos": True, **sampling}
    response = httpx.post(f"{nodes.url}/v1/completions", json=body, timeout=200)
    assert response.status_code == 200, response.text
    choice: dict[str, Any] = response.json()["choices"][0]
    return choice


def ranks_of_worker(nodes: TwoNodes) -> list[int]:
    return [pid for pid in nodes.worker_pids() if RANK in command_line(pid)]


def test_each_node_has_a_rank(nodes: TwoNodes) -> None:
    assert len(ranks_of_worker(nodes)) == 1
    assert complete(nodes, 1)["finish_reason"] == "length"


@pytest.mark.parametrize("loss", ["rank", "node"])
def test_streams_outlive_a_node(nodes: TwoNodes, loss: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        expected = list(pool.map(lambda number: complete(nodes, number), range(4)))
        running = [pool.submit(complete, nodes, number) for number in range(4)]
        time.sleep(0.3)
        if loss == "rank":
            os.kill(ranks_of_worker(nodes)[0], signal.SIGKILL)
        else:
            nodes.kill_worker()
            time.sleep(2.0)
            nodes.start_worker()
        assert [future.result()["text"] for future in running] == [choice["text"] for choice in expected]
    assert len(ranks_of_worker(nodes)) == 1
