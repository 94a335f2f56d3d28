"""Changed configurations deployed under sixteen streams, on a Ray of one node.

What they come to is told with `pytest --log-cli-level=INFO`.
"""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.models import write_tiny_llama
from tests.support.ray_nodes import RayNodes, ray_nodes
from tests.support.streams import stream, stream_during, tiny_request
from tests.support.watching import until

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1200)]

NUM_STREAMS = 16
REQUESTS = [tiny_request(number, 1200) for number in range(NUM_STREAMS)]
NO_ROOM, ROOM = 2, 3  # CPUs for another target replica: of two ranks, 1.2 and all else 0.3; of one, 0.7

_log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    write_tiny_llama(folder, tokenizer=True, max_position_embeddings=4096)
    return folder


def args_of(folder: Path, target_replicas: int = 1, server: dict[str, Any] | None = None, **engine: Any) -> Any:
    small = {"device": "cpu", "kv_memory_bytes": 64 * 2**20, "num_threads": 1, "drain_timeout_s": 0.5}
    model = {"path": str(folder), "dtype": "float32"}
    return {"model": model, "engine": small | engine, "server": server or {}, "target_replicas": target_replicas}


@pytest.fixture(scope="module")
def roomy(folder: Path) -> Iterator[RayNodes]:
    with ray_nodes(ROOM) as nodes:
        nodes.deploy(args_of(folder))
        yield nodes


def migrated(nodes: RayNodes, outcome: str) -> float:
    families = text_string_to_metric_families(httpx.get(f"{nodes.url}/metrics", timeout=30).text)
    samples = [sample for family in families for sample in family.samples]
    return sum(
        sample.value
        for sample in samples
        if sample.name == "llama4coder_requests_migrated_total" and sample.labels["outcome"] == outcome
    )


def upgrade(nodes: RayNodes, changed: dict[str, Any], **settings: Any) -> None:
    """Deploy under streams, and hold that none of them failed or changed."""
    started_s = time.monotonic()
    took_s = 0.0

    def deploy() -> None:
        nonlocal took_s
        started_s = time.monotonic()
        nodes.deploy(changed, **settings)
        took_s = time.monotonic() - started_s

    answers = stream_during(nodes, REQUESTS, deploy)
    assert len(answers) >= NUM_STREAMS
    pause_s = max(answer.longest_pause_s for answer in answers)
    told = len(answers), took_s, pause_s, time.monotonic() - started_s
    _log.info("%d streams, deployed in %.1f s, longest pause %.1f s, %.1f s in all", *told)


def test_a_new_target(roomy: RayNodes, folder: Path) -> None:
    upgrade(roomy, args_of(folder, max_sequences=33))
    assert migrated(roomy, "continued") > 0, "longer than the old replica's time"
    assert migrated(roomy, "failed") == 0


def test_a_new_ingress(roomy: RayNodes, folder: Path) -> None:
    upgrade(roomy, args_of(folder, server={"max_choices": 5}))
    assert httpx.post(f"{roomy.url}/v1/completions", json=REQUESTS[0] | {"n": 6}, timeout=60).status_code == 400


def test_more_replicas(roomy: RayNodes, folder: Path) -> None:
    upgrade(roomy, args_of(folder, target_replicas=2, server={"max_choices": 5}))


def test_without_room_clients_see_a_pause(folder: Path) -> None:
    with ray_nodes(NO_ROOM) as nodes:
        nodes.deploy(args_of(folder, ranks=2))
        upgrade(nodes, args_of(folder, ranks=2, max_sequences=33))
        assert migrated(nodes, "failed") == 0


def test_another_model_never_goes_on_with_an_answer(tmp_path: Path) -> None:
    """Those that have time end as they began, the others with an error; new requests get the new model."""
    for name, seed in (("tiny", 0), ("other", 1)):
        write_tiny_llama(tmp_path / name, tokenizer=True, max_position_embeddings=4096, seed=seed)
    with ray_nodes(ROOM) as nodes:
        nodes.deploy(args_of(tmp_path / "tiny"))
        old = stream(nodes, REQUESTS[1])
        long = REQUESTS[1] | {"max_tokens": 4000}
        lines: list[str] = []
        with httpx.stream("POST", f"{nodes.url}/v1/completions", json=long | {"stream": True}, timeout=200) as response:
            arriving = response.iter_lines()
            lines.append(next(arriving))
            other = args_of(tmp_path / "other")
            nodes.deploy({**other, "model": other["model"] | {"name": "tiny"}})
            lines += arriving
        assert any('"error"' in line and "another configuration" in line for line in lines), "it had no time to end"
        until(lambda: httpx.get(f"{nodes.url}/ready", timeout=30).status_code == 200, 60)
        new = stream(nodes, REQUESTS[1])
        assert (new.finish_reasons, new.num_output_tokens) == (old.finish_reasons, old.num_output_tokens)
        assert new.text != old.text
