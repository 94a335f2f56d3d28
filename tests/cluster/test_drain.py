"""A node is drained, as before a spot instance or a pod goes, under sixteen streams."""

import logging
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.models import write_tiny_llama
from tests.support.ray_nodes import RayNodes, ray_nodes
from tests.support.streams import stream, stream_during, tiny_request

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

REQUESTS = [tiny_request(number, 1200) for number in range(16)]
FIRST, SECOND = "127.0.0.2", "127.0.0.3"

_log = logging.getLogger(__name__)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[RayNodes]:
    """One target replica, whose node is the first; the second comes later."""
    folder = tmp_path / "tiny"
    write_tiny_llama(folder, tokenizer=True, max_position_embeddings=4096)
    engine = {"device": "cpu", "kv_memory_bytes": 64 * 2**20, "num_threads": 1, "drain_timeout_s": 3.0}
    placement = {"node_labels": {"node": "worker"}, "front_labels": {"node": "head"}}
    with ray_nodes(1) as nodes:
        nodes.start_node(FIRST, 1)
        nodes.deploy({"model": {"path": str(folder), "dtype": "float32"}, "engine": engine, "placement": placement})
        nodes.start_node(SECOND, 1)
        yield nodes


def test_a_drained_node_loses_nothing(nodes: RayNodes) -> None:
    told: list[str] = []

    def drain() -> None:
        command = [sys.executable, "-m", "cluster", "drain", "--address", nodes.gcs, "--timeout-s", "120"]
        with ThreadPoolExecutor(1) as beside:
            others = beside.submit(nodes.run, *command, "--others")  # as the head's pod does while it is stopped
            told.extend([nodes.run(*command, "--node", FIRST), others.result()])

    answers = stream_during(nodes, REQUESTS, drain)
    assert "the node is empty" in told[0]
    assert told[1].endswith("no node is being drained\n")
    _log.info("%d streams, longest pause %.1f s", len(answers), max(answer.longest_pause_s for answer in answers))
    assert stream(nodes, REQUESTS[0]) in answers
