"""`llama4coder serve` on a real local Ray."""

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.processes import Process, descendants
from cluster.serve_command import check_port
from tests.support.live_server import LiveServer, live_server, start_server
from tests.support.watching import RANK, command_line, processes_named, running, until

pytestmark = pytest.mark.cluster

PROMPT = {"model": "tiny", "prompt": "def add(first, second):", "temperature": 0, "ignore_eos": True}


@pytest.fixture(scope="module")
def server(tiny_args: dict[str, Any]) -> Iterator[LiveServer]:
    with live_server(tiny_args) as server:
        yield server


@pytest.fixture
def client(server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def metric(client: httpx.Client, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels; there must be some."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    values = [sample.value for sample in samples if labels.items() <= sample.labels.items()]
    assert values, f"{name} {labels} is not exported"
    return sum(values)


def test_output_tells_what_to_do_next(server: LiveServer) -> None:
    output = server.output()
    assert '"context_length":4096' in output, "the resolved configuration"
    for part in (f"{server.url}/v1", "tiny", "4096 tokens", "curl", "OpenAI(", "/metrics", "Ctrl-C"):
        assert part in output


def test_completion_and_stream_say_the_same(client: httpx.Client) -> None:
    body = PROMPT | {"max_tokens": 24}
    whole = client.post("/v1/completions", json=body).json()
    assert whole["choices"][0]["finish_reason"] == "length"
    assert whole["usage"]["completion_tokens"] == 24
    text = ""
    with client.stream("POST", "/v1/completions", json=body | {"stream": True}) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                text += json.loads(line.removeprefix("data: "))["choices"][0]["text"]
    assert text == whole["choices"][0]["text"]


def test_errors_of_the_replica_keep_their_type(client: httpx.Client) -> None:
    answer = client.post("/v1/completions", json=PROMPT | {"prompt": [5] * 4096, "max_tokens": 4})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_full_queue_is_429(server: LiveServer, client: httpx.Client) -> None:
    body = PROMPT | {"max_tokens": 1500}

    with httpx.Client(base_url=server.url, timeout=8, limits=httpx.Limits(max_connections=200)) as many:

        def status(_: int) -> int:
            try:
                return many.post("/v1/completions", json=body).status_code
            except httpx.TimeoutException:
                return 0

        with ThreadPoolExecutor(180) as pool:
            statuses = list(pool.map(status, range(180)))
    assert 429 in statuses
    assert set(statuses) <= {0, 200, 429}
    until(lambda: metric(client, "llama4coder_kv_blocks", state="used") == 0, 20)


def test_client_that_leaves_frees_its_blocks(client: httpx.Client) -> None:
    until(lambda: metric(client, "llama4coder_kv_blocks", state="used") == 0, 20)
    with client.stream("POST", "/v1/completions", json=PROMPT | {"max_tokens": 3000, "stream": True}) as response:
        assert response.status_code == 200
        lines = response.iter_lines()  # kept: the connection closes with it
        next(lines)
        until(lambda: metric(client, "llama4coder_kv_blocks", state="used") > 0, 20)
    until(lambda: metric(client, "llama4coder_kv_blocks", state="used") == 0, 5)


def test_body_over_the_limit_is_413(client: httpx.Client) -> None:
    assert client.post("/v1/completions", content=b" " * (17 * 2**20)).status_code == 413


def test_metrics_are_of_the_whole_deployment(client: httpx.Client) -> None:
    before = metric(client, "llama4coder_output_tokens_total")
    client.post("/v1/completions", json=PROMPT | {"max_tokens": 5})
    until(lambda: metric(client, "llama4coder_output_tokens_total") == before + 5, 5)
    assert metric(client, "llama4coder_requests_total", api="completions", code="200") >= 1
    assert metric(client, "llama4coder_replica_ready", pool="target") == 1
    assert metric(client, "llama4coder_configured_replicas", pool="target") == 1
    assert metric(client, "llama4coder_memory_headroom_bytes", rank="0") > 2**20


def test_everything_listens_on_loopback_only(server: LiveServer) -> None:
    """But for Serve's gRPC port in each replica, whose address is fixed in Serve; it asks for Ray's token."""
    pids = {process.pid for process in descendants({server.process.pid})} | {server.process.pid}
    replicas = {process.pid for process in processes_named(server.process.pid, b"ray::ServeReplica")}
    exposed = [pid for pid in pids - replicas if _listens_beyond_loopback(pid)]
    assert exposed == []


def _descriptors(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/fd").iterdir())
    except FileNotFoundError:  # the process has ended
        return []


def _listens_beyond_loopback(pid: int) -> bool:
    inodes = set()
    for descriptor in _descriptors(pid):
        try:
            target = os.readlink(descriptor)
        except FileNotFoundError:  # closed since it was listed
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    for table, anywhere in (("tcp", "0" * 8), ("tcp6", "0" * 32)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes and fields[1].startswith(anywhere):
                return True
    return False


def test_haproxy_answers_and_is_ours_alone(server: LiveServer) -> None:
    (process,) = processes_named(server.process.pid, b"bin/haproxy")
    folder = command_line(process.pid).split(b"-f\0")[1].split(b"\0")[0].split(b"/")[:3]
    assert Path(b"/".join(folder).decode()).stat().st_mode & 0o077 == 0, "its admin socket lies below"


def test_a_new_haproxy_takes_over_when_its_manager_dies(server: LiveServer, client: httpx.Client) -> None:
    (manager,) = processes_named(server.process.pid, b"ray::HAProxyManager")
    (old,) = processes_named(server.process.pid, b"bin/haproxy")
    os.kill(manager.pid, signal.SIGKILL)
    until(lambda: not old.is_running(), 5)

    def is_back() -> bool:
        try:
            return client.get("/ready").status_code == 200
        except httpx.TransportError:
            return False

    until(is_back, 60)
    assert len(processes_named(server.process.pid, b"bin/haproxy")) == 1


def test_a_stream_outlives_its_rank(server: LiveServer, client: httpx.Client) -> None:
    body = PROMPT | {"max_tokens": 400}
    expected = client.post("/v1/completions", json=body).json()["choices"][0]["text"]
    (victim,) = processes_named(server.process.pid, RANK)
    text, reasons = "", []
    with client.stream("POST", "/v1/completions", json=body | {"stream": True}, timeout=60) as response:
        for line in response.iter_lines():
            if not line.startswith("data: {"):
                continue
            if not text:
                os.kill(victim.pid, signal.SIGKILL)
            choice = json.loads(line.removeprefix("data: "))["choices"][0]
            text += choice["text"]
            reasons.append(choice["finish_reason"])
    assert text == expected
    assert [reason for reason in reasons if reason] == ["length"]
    assert victim not in processes_named(server.process.pid, RANK)
    assert client.get("/health").status_code == 200
    until(lambda: metric(client, "llama4coder_recovered_requests_total") == 1, 20)
    assert metric(client, "llama4coder_requests_total", code="200") > 1, "counters of the dead are kept"


def test_ctrl_c_while_streaming_leaves_nothing(server: LiveServer) -> None:
    """The last test with this server."""
    processes = descendants({server.process.pid})
    assert len(processes) > 5
    with httpx.stream("POST", f"{server.url}/v1/completions", json=PROMPT | {"max_tokens": 3500, "stream": True}) as _:
        assert server.stop() == 0
    assert running(processes) == set()
    check_port("127.0.0.1", server.port)  # a restart finds it free
    assert "Traceback" not in server.output()


@pytest.mark.parametrize("delay_s", [0.5, 3.0, 9.0])
def test_signal_while_starting_leaves_nothing(tiny_args: dict[str, Any], tmp_path: Path, delay_s: float) -> None:
    server = start_server(tmp_path, tiny_args)
    time.sleep(delay_s)
    processes = descendants({server.process.pid})
    status = server.stop(signal.SIGTERM)
    assert status != 0
    assert running(processes) == set()
    assert "Traceback" not in server.output()


def failing_start(folder: Path, args: dict[str, Any], port: int | None = None, **env: str) -> str:
    """Start a server that cannot start; returns its last line, after checking that it left nothing."""
    server = start_server(folder, args, port, **env)
    seen: set[Process] = set()
    while server.process.poll() is None:
        seen |= descendants({server.process.pid})
        time.sleep(0.05)
    assert server.process.returncode == 1
    assert running(seen) == set()
    assert "Traceback" not in server.output()
    return server.output().strip().splitlines()[-1]


def test_port_in_use(tiny_args: dict[str, Any], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        line = failing_start(tmp_path, tiny_args, taken.getsockname()[1])
    assert "cannot listen on" in line
    assert "--port" in line


def test_corrupt_model(tiny_args: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "corrupt"
    shutil.copytree(tiny_args["model"]["path"], folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    line = failing_start(tmp_path, tiny_args | {"model": {"path": str(folder)}})
    assert "model.safetensors" in line


def test_missing_model(tiny_args: dict[str, Any], tmp_path: Path) -> None:
    assert str(tmp_path / "none") in failing_start(tmp_path, tiny_args | {"model": {"path": str(tmp_path / "none")}})


def test_unwritable_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    line = failing_start(tmp_path, {}, LLAMA4CODER_CACHE=str(tmp_path / "file" / "cache"))
    assert "LLAMA4CODER_CACHE" in line or str(tmp_path / "file") in line


def test_too_little_memory(tiny_args: dict[str, Any], tmp_path: Path) -> None:
    line = failing_start(tmp_path, tiny_args | {"engine": {"kv_memory_bytes": 2**50}})
    assert "lower it" in line


def test_wrong_field(tiny_args: dict[str, Any], tmp_path: Path) -> None:
    line = failing_start(tmp_path, tiny_args | {"engine": {"no_such_field": 1}})
    assert "engine.no_such_field" in line
