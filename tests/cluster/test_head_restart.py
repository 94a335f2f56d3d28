"""The head is killed and started anew, with its tables on Redis, while streams run on a worker node."""

import logging
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.live_server import free_port
from tests.support.models import write_tiny_llama
from tests.support.ray_nodes import RayNodes, forwarded, ray_nodes
from tests.support.streams import stream, stream_during, tiny_request
from tests.support.two_nodes import HEAD, NAMESPACE, WORKER, can_make_nodes, joined_namespace, pids_inside
from tests.support.watching import until

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not can_make_nodes(), reason="needs root, for network namespaces"),
]

_log = logging.getLogger(__name__)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    """The address of a Redis of its own."""
    port = free_port()
    command = ["redis-server", "--bind", HEAD, "--port", str(port), "--save", "", "--protected-mode", "no"]
    with joined_namespace(), (tmp_path / "redis.log").open("wb") as log:
        process = subprocess.Popen([*command, "--dir", str(tmp_path)], stdout=log, stderr=log)
        yield f"{HEAD}:{port}"
        process.kill()
        process.wait()


@pytest.fixture
def nodes(redis: str) -> Iterator[RayNodes]:
    environment = {
        "RAY_REDIS_ADDRESS": redis,
        "RAY_external_storage_namespace": "llama4coder",
        "RAY_gcs_rpc_server_reconnect_timeout_s": "300",  # a worker that finds no head for so long ends
    }
    with ray_nodes(1, environment, HEAD, WORKER) as nodes:
        inside = ("ip", "netns", "exec", NAMESPACE)
        nodes.start_node(WORKER, 3, inside)
        with forwarded(nodes, inside):
            yield nodes


def test_streams_do_not_notice(nodes: RayNodes, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    write_tiny_llama(folder, tokenizer=True, max_position_embeddings=4096)
    args = {
        "model": {"path": str(folder), "dtype": "float32"},
        "engine": {"device": "cpu", "kv_memory_bytes": 64 * 2**20, "num_threads": 1},
        "placement": {"node_labels": {"node": "worker"}, "front_labels": {"node": "worker"}},
    }
    nodes.deploy(args)
    requests = [tiny_request(number, 800) for number in range(16)]

    def restart_the_head() -> None:
        head = nodes.pids() - set(pids_inside())
        assert len(head) >= 3, "its GCS, its raylet, Serve's controller"
        nodes.kill(head)
        time.sleep(5.0)
        nodes.start_head(1)
        time.sleep(10.0)

    answers = stream_during(nodes, requests, restart_the_head)
    assert len(answers) >= 16
    _log.info("%d streams, longest pause %.1f s", len(answers), max(answer.longest_pause_s for answer in answers))
    assert stream(nodes, requests[0]) in answers
    until(lambda: httpx.get(f"{nodes.url}/ready", timeout=30).status_code == 200, 60)
    changed = {**args, "server": {"max_choices": 5}}
    nodes.deploy(changed)  # the new controller knows what the old one did, and can change it
    assert stream(nodes, requests[1]) in answers
