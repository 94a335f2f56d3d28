"""A head whose state is in Redis is killed and comes back: what ran on the other node is the same, and still serves.

With the environment of `deploy/ray/ray.env`, a token, and HAProxy in front.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.haproxy_front import ray_environment
from tests.support.live_server import free_port
from tests.support.manifests import DEPLOY
from tests.support.models import write_tiny_llama
from tests.support.redis_server import has_redis, redis_server
from tests.support.watching import RANK, command_line

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not has_redis(), reason="there is no redis-server"),
]

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """A head without CPUs, and a node of the same machine that has them."""

    folder: Path
    redis: str
    password: str
    gcs_port: int
    dashboard_port: int
    port: int

    def start_head(self) -> None:
        arguments = ["--head", f"--port={self.gcs_port}", "--num-cpus=0", f"--temp-dir={self.folder / 'r'}"]
        arguments += ["--dashboard-host=127.0.0.1", f"--dashboard-port={self.dashboard_port}"]
        arguments += [f"--redis-password={self.password}", f"--ray-client-server-port={free_port()}"]
        arguments += ['--system-config={"automatic_object_spilling_enabled": false}']
        self._start("head", arguments, RAY_REDIS_ADDRESS=self.redis)

    def start_node(self) -> None:
        self._start("node", [f"--address=127.0.0.1:{self.gcs_port}", "--num-cpus=4", "--labels=pool=target"])

    def deploy(self, file: Path) -> None:
        address = f"--address=http://127.0.0.1:{self.dashboard_port}"
        deadline_s = time.monotonic() + TIMEOUT_S
        while (done := self._run("driver", str(BIN / "serve"), "deploy", address, str(file))).returncode:
            assert time.monotonic() < deadline_s, done.stdout + done.stderr
            time.sleep(1.0)

    def processes(self, node: str) -> set[int]:
        """Those that carry the node's mark in their environment."""
        mark = f"L4C_TEST_NODE={self.folder}-{node}".encode()
        found = set()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.add(int(entry.name))
        return found

    def kill(self, node: str) -> None:
        """As if its power had failed."""
        for pid in self.processes(node):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _start(self, node: str, arguments: list[str], **variables: str) -> None:
        arguments += ["--node-ip-address=127.0.0.1", "--object-store-memory=80000000"]
        arguments += [f"--dashboard-agent-listen-port={free_port()}", f"--metrics-export-port={free_port()}"]
        done = self._run(node, str(BIN / "ray"), "start", *arguments, **variables)
        assert done.returncode == 0, done.stdout + done.stderr

    def _run(self, node: str, *command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        haproxy = {
            "CONFIG_FILE_LOC": str(self.folder / "haproxy.cfg"),
            "SOCKET_PATH": str(self.folder / "ctl"),
            "SERVER_STATE_BASE": str(self.folder),
            "SERVER_STATE_FILE": str(self.folder / "server-state"),
            "STATS_PORT": str(self.port + 1),
            "METRICS_PORT": str(self.port + 2),
        }
        env |= ray_environment() | {f"RAY_SERVE_HAPROXY_{name}": value for name, value in haproxy.items()}
        env |= {"RAY_AUTH_TOKEN_PATH": str(self.folder / "token"), "PYTHONPATH": str(REPOSITORY)}
        env |= {"L4C_TEST_NODE": f"{self.folder}-{node}", "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(self.port + 3)}
        return subprocess.run(
            command, cwd=REPOSITORY, env=env | variables, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="l4h-", dir="/tmp"))
    (folder / "token").write_text(secrets.token_hex(32))
    password = secrets.token_hex(16)
    with redis_server(folder, password) as redis:
        cluster = Cluster(folder, redis, password, free_port(), free_port(), free_port())
        try:
            cluster.start_head()
            cluster.start_node()
            yield cluster
        finally:
            cluster.kill("driver")
            cluster.kill("node")
            cluster.kill("head")
    shutil.rmtree(folder, ignore_errors=True)


def serve_file(cluster: Cluster, folder: Path) -> Path:
    write_tiny_llama(folder / "tiny", tokenizer=True, max_position_embeddings=4096)
    content: dict[str, Any] = yaml.safe_load((DEPLOY / "serve" / "embedded-cpu.yaml").read_text())
    content["http_options"] |= {"port": cluster.port}
    content["applications"][0]["args"] = {
        "model": {"path": str(folder / "tiny"), "dtype": "float32"},
        "engine": {"device": "cpu", "kv_memory_bytes": 32 * 2**20, "num_threads": 1},
        "placement": {"node_labels": {"pool": "target"}},
    }
    file = folder / "serve.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def await_ready(cluster: Cluster) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"http://127.0.0.1:{cluster.port}/ready", timeout=15).status_code == 200:
                return
        assert time.monotonic() < deadline_s, "it does not become ready"
        time.sleep(0.5)


def complete(cluster: Cluster) -> str:
    body: Mapping[str, Any] = {"model": "tiny", "prompt": "def add(", "max_tokens": 20, "temperature": 0}
    answer = httpx.post(f"http://127.0.0.1:{cluster.port}/v1/completions", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["choices"][0]["text"]
    return text


def working(cluster: Cluster) -> set[int]:
    """Replicas and ranks of the node."""
    lines = {pid: command_line(pid) for pid in cluster.processes("node")}
    return {pid for pid, line in lines.items() if b"ServeReplica" in line or RANK in line}


def test_what_runs_outlives_the_head(cluster: Cluster, tmp_path: Path) -> None:
    cluster.deploy(serve_file(cluster, tmp_path))
    await_ready(cluster)
    expected, before = complete(cluster), working(cluster)
    assert len(before) >= 4  # ingress, hub, replica, rank
    cluster.kill("head")
    time.sleep(3.0)
    assert working(cluster) == before
    # Ray would take the node, which is of the same machine and names the same address, for a head that runs.
    (cluster.folder / "r" / "ray_current_cluster").unlink(missing_ok=True)
    cluster.start_head()
    await_ready(cluster)
    assert complete(cluster) == expected
    assert working(cluster) == before
