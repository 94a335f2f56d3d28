"""Changed configurations deployed under sixteen streams, on a Ray of one node, behind HAProxy and Serve's own proxy.

What they come to is told with `pytest --log-cli-level=INFO`.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.haproxy_front import haproxy_environment
from tests.support.models import write_tiny_llama
from tests.support.ray_nodes import RayNodes, ray_nodes
from tests.support.streams import stream, stream_during, tiny_request
from tests.support.watching import RANK, command_line, until

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1200)]

NUM_STREAMS = 16
REQUESTS = [tiny_request(number, 1200) for number in range(NUM_STREAMS)]
FULL, ROOM = 1, 3  # CPUs; a target replica of one rank needs 0.7, and all else next to nothing

FRONTS = ("haproxy", "own proxy")
KINDS = (RANK, b"ServeReplica:llama4coder:TargetReplica", b"ServeReplica:llama4coder:Ingress")

_log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    write_tiny_llama(folder, tokenizer=True, max_position_embeddings=4096)
    return folder


def args_of(folder: Path, server: dict[str, Any] | None = None, **engine: Any) -> Any:
    small = {"device": "cpu", "kv_memory_bytes": 64 * 2**20, "num_threads": 1, "drain_timeout_s": 0.5}
    model = {"path": str(folder), "dtype": "float32"}
    return {"model": model, "engine": small | engine, "server": server or {}}


@contextmanager
def ray_behind(front: str, num_cpus: float) -> Iterator[RayNodes]:
    """A Ray whose clients connect to HAProxy, as `deploy/ray/ray.env` has it, or to Serve's own proxy."""
    with ExitStack() as stack:
        environment = stack.enter_context(haproxy_environment()) if front == "haproxy" else {}
        yield stack.enter_context(ray_nodes(num_cpus, environment))


@pytest.fixture(scope="module", params=FRONTS)
def roomy(folder: Path, request: pytest.FixtureRequest) -> Iterator[RayNodes]:
    with ray_behind(request.param, ROOM) as nodes:
        nodes.deploy(args_of(folder))
        assert has_haproxy(nodes) == (request.param == "haproxy")
        yield nodes


def has_haproxy(nodes: RayNodes) -> bool:
    return any(b"haproxy.cfg" in command_line(pid) for pid in nodes.pids())


def figure(nodes: RayNodes, name: str, **labels: str) -> float:
    """The sum of all samples of this name that have these labels."""
    families = text_string_to_metric_families(httpx.get(f"{nodes.url}/metrics", timeout=30).text)
    samples = [sample for family in families for sample in family.samples]
    named = [sample for sample in samples if sample.name == f"llama4coder_{name}"]
    return sum(sample.value for sample in named if labels.items() <= sample.labels.items())


def processes(nodes: RayNodes) -> dict[int, bytes]:
    """The command lines of ingresses, target replicas and ranks."""
    lines = {pid: command_line(pid) for pid in nodes.pids()}
    return {pid: line for pid, line in lines.items() if any(kind in line for kind in KINDS)}


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


@pytest.mark.parametrize("front", FRONTS)
def test_on_a_full_node_clients_see_a_pause(folder: Path, front: str) -> None:
    """The old target's CPUs go to the new one, and no ingress waits for any."""
    args = args_of(folder, max_sequences=33)
    with ray_behind(front, FULL) as nodes:
        nodes.deploy(args_of(folder))
        upgrade(nodes, args)
        assert figure(nodes, "requests_migrated_total", outcome="failed") == 0
        nodes.submit(args, deployments=[{"name": "TargetReplica", "num_replicas": 2}])
        until(lambda: figure(nodes, "unplaced_replicas", deployment="TargetReplica", resource="CPU") == 1, 120)
        nodes.deploy(args)
        until(lambda: figure(nodes, "unplaced_replicas", deployment="TargetReplica") == 0, 60)


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


def test_a_new_configuration(roomy: RayNodes, folder: Path) -> None:
    upgrade(roomy, args_of(folder, server={"max_choices": 5}, max_sequences=33))
    assert figure(roomy, "requests_migrated_total", outcome="continued") > 0, "longer than the old replica's time"
    assert figure(roomy, "requests_migrated_total", outcome="failed") == 0
    too_many = REQUESTS[0] | {"n": 6}
    assert httpx.post(f"{roomy.url}/v1/completions", json=too_many, timeout=60).status_code == 400, "a new ingress"


def test_what_stands_beside_args_loads_nothing_again(roomy: RayNodes, folder: Path) -> None:
    args = args_of(folder, server={"max_choices": 5}, max_sequences=33)
    before, migrated = processes(roomy), figure(roomy, "requests_migrated_total", outcome="continued")
    told = {"log_level": "ERROR", "enable_access_log": False}
    more = {"name": "TargetReplica", "num_replicas": 2, "logging_config": told}
    upgrade(roomy, args, deployments=[more, {"name": "Ingress", "logging_config": told}])
    after = processes(roomy)
    assert after.keys() > before.keys(), "all that there were, and those of one replica more"
    assert sum(RANK in line for line in after.values()) == 2
    assert figure(roomy, "requests_migrated_total", outcome="continued") == migrated
