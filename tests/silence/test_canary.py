"""A secret in 500 requests to a real deployment, whose processes are killed meanwhile, is nowhere afterwards."""

import contextlib
import json
import os
import resource
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from cluster.processes import Process, descendants
from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.env import cache_dir
from llama4coder.progress import NullProgress
from llama4coder.tokenizer.tokenizer import Tokenizer
from tests.silence.deck import Sent, deck
from tests.silence.secret import Secret, traces, traces_in_deleted
from tests.support import live_server
from tests.support.live_server import LiveServer, write_serve_file
from tests.support.otlp_receiver import Receiver, receiving
from tests.support.watching import processes_named, until

pytestmark = [pytest.mark.cluster, pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(1800)]

MODEL = "smollm2-135m-instruct"
NUM_REQUESTS = 500
LIMIT_BYTES = 2**18
LONG_PROMPT_TOKENS = 3000
ARGS: Mapping[str, Any] = {
    "model": {"path": "embedded", "name": MODEL, "dtype": "float32", "context_length": 4096},
    "engine": {"kv_memory_bytes": 400 * 2**20, "num_threads": 1},
    "speculation": {
        "method": "pool",
        "max_draft_tokens": 4,
        "draft": {"path": "embedded", "quant": "int4", "num_threads": 1, "max_forks": 0},
        "pool": {"min_replicas": 1, "max_replicas": 1},
    },
    "server": {"max_body_bytes": LIMIT_BYTES, "keep_alive_s": 1.0},
}
DEATHS = (
    (b"ray::RankActor", signal.SIGKILL),
    (b"ray::RankActor", signal.SIGSEGV),
    (b"TargetReplica", signal.SIGKILL),
    (b"DraftReplica", signal.SIGKILL),
    (b"llama4coder:Ingress", signal.SIGABRT),
    (b"llama4coder:Ingress", signal.SIGKILL),
    (b"MetricsHub", signal.SIGKILL),
    (b"ServeController", signal.SIGKILL),
)
HAPROXY_DEATHS = ((b"ray::HAProxyManager", signal.SIGKILL), (b"bin/haproxy", signal.SIGKILL))
OWN_PROXY_DEATHS = ((b"ray::ProxyActor", signal.SIGKILL),)
# As much as Ray, Serve and Python can be made to say.
LOUD = {
    "RAY_BACKEND_LOG_LEVEL": "trace",
    "RAY_SERVE_LOG_TO_STDERR": "1",
    "RAY_record_ref_creation_sites": "1",
    "RAY_record_task_actor_creation_sites": "1",
    "PYTHONASYNCIODEBUG": "1",
    "PYTHONFAULTHANDLER": "1",
    "PYTHONDEVMODE": "1",
}
LOUD_LOGGING = {"log_level": "DEBUG", "enable_access_log": True}
DEPLOYMENTS = ("Ingress", "TargetReplica", "DraftReplica", "MetricsHub")
OWN_PROXY = {"RAY_SERVE_HAPROXY_BINARY_PATH": "/bin/false"}


@dataclass(frozen=True, slots=True)
class Deployment:
    """A running server, everything that it can write to, and how its processes are to die."""

    server: LiveServer
    folders: tuple[Path, ...]
    started_s: float
    deaths: tuple[tuple[bytes, signal.Signals], ...]
    collector: Receiver


def write_loud_file(folder: Path, args: Mapping[str, Any]) -> Path:
    """What `write_serve_file` writes, but for every logging option that Serve has."""
    file = write_serve_file(folder, args)
    content = yaml.safe_load(file.read_text())
    content["logging_config"] = LOUD_LOGGING
    (application,) = content["applications"]
    application["logging_config"] = LOUD_LOGGING
    application["deployments"] = [{"name": name, "logging_config": LOUD_LOGGING} for name in DEPLOYMENTS]
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.fixture(params=["quiet", "loud"])
def running(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """By HAProxy as it is delivered; and by Serve's own proxy with every log at its most verbose."""
    is_loud = request.param == "loud"
    if is_loud:
        monkeypatch.setattr(live_server, "write_serve_file", write_loud_file)
    started_s = time.time()
    home, temp = tmp_path / "h", Path("/tmp") / f"c{os.getpid()}"
    for each in (home, temp):
        each.mkdir()
    places = {"HOME": str(home), "TMPDIR": str(temp), "LLAMA4CODER_CACHE": str(cache_dir())}
    with contextlib.suppress(ValueError):  # only root may
        resource.setrlimit(resource.RLIMIT_CORE, (-1, -1))  # importing `cluster` has forbidden cores to the tests, too
    folders = (tmp_path, temp, cache_dir(), Path("/tmp/ray"), Path("/var/log"), Path.cwd())
    deaths = DEATHS + (OWN_PROXY_DEATHS if is_loud else HAPROXY_DEATHS)
    with receiving() as collector:
        args = ARGS | {"telemetry": {"otlp_endpoint": collector.url}}
        server = live_server.start_server(tmp_path, args, **places, **(LOUD | OWN_PROXY if is_loud else {}))
        try:
            server.wait_until_ready()
            yield Deployment(server, folders, started_s, deaths, collector)
        finally:
            server.stop()
            shutil.rmtree(temp, ignore_errors=True)


@pytest.fixture(scope="module")
def secret() -> Secret:
    folder = find_checkpoint("embedded", cache_dir(), NullProgress())
    return Secret(Tokenizer.from_folder(folder))


def test_the_secret_is_nowhere(running: Deployment, secret: Secret) -> None:
    server = running.server
    statuses = send_all(server, deck(MODEL, secret.text, NUM_REQUESTS, LIMIT_BYTES, seed=8))
    assert len(statuses) == NUM_REQUESTS
    assert {200, 400, 404, 413} <= set(statuses)
    assert max(statuses) < 500
    seen = descendants({server.process.pid})
    for name, number in running.deaths:
        stream_into_death(server, secret, name, number)
        seen |= descendants({server.process.pid})
    long_prompt = f"{secret.text} " * (LONG_PROMPT_TOKENS // len(secret.text))
    assert httpx.post(f"{server.url}/v1/completions", json=completion(long_prompt), timeout=120).status_code == 200
    assert_silent(running, secret, seen)


def send_all(server: LiveServer, requests: list[Sent]) -> list[int]:
    with httpx.Client(base_url=server.url, timeout=180) as client, ThreadPoolExecutor(4) as pool:

        def status(sent: Sent) -> int:
            request = client.build_request(sent.method, sent.path, content=sent.content, headers=sent.headers)
            return client.send(request).status_code

        return list(pool.map(status, requests))


def completion(prompt: str, **fields: object) -> dict[str, object]:
    return {"model": MODEL, "prompt": prompt, "max_tokens": 4, "ignore_eos": True} | fields


def stream_into_death(server: LiveServer, secret: Secret, name: bytes, number: signal.Signals) -> None:
    """Kill all processes of a kind while streams that hold the secret flow, and wait until the endpoint is back."""
    victims = processes_named(server.process.pid, name)
    assert victims, name
    body = completion(f"Repeat {secret.text}: {secret.text} {secret.text}", max_tokens=200, stream=True)
    try:
        with httpx.stream("POST", f"{server.url}/v1/completions", json=body, timeout=120) as response:
            for count, _ in enumerate(response.iter_lines()):
                if count == 4:
                    for victim in victims:
                        os.kill(victim.pid, number)
    except httpx.TransportError:
        pass
    until(lambda: not any(victim.is_running() for victim in victims), 30)
    until(lambda: answers(server), 240)


def answers(server: LiveServer) -> bool:
    try:
        answer = httpx.post(f"{server.url}/v1/completions", json=completion("hi"), timeout=60)
    except httpx.TransportError:
        return False
    return answer.status_code == 200


def assert_silent(running: Deployment, secret: Secret, seen: set[Process]) -> None:
    assert any(folder.joinpath("r").exists() or list(folder.glob("*/r")) for folder in running.folders), "Ray's own"
    found = traces(secret, running.folders, running.started_s)
    found += traces_in_deleted(secret, seen)
    found += secret.traces_in(running.server.output().encode(), "output")
    collector = running.collector
    collector.until(lambda seen: len(seen.spans()) > NUM_REQUESTS // 4 and seen.bodies["/v1/metrics"] != [])
    found += secret.traces_in(collector.raw, "collector")
    assert found == [], json.dumps([f"{trace.path}: {trace.form}: {trace.context}" for trace in found], indent=1)
    assert not [path for folder in running.folders[:2] for path in folder.rglob("core*") if path.is_file()]
