"""A deployment with everything that dashboards show, small enough to be hurt, and a Prometheus that watches it."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from cluster.processes import Process
from tests.dashboards.load import Ask, Clients
from tests.support.live_server import LiveServer, live_server
from tests.support.models import write_tiny_llama
from tests.support.prometheus import Prometheus, running_prometheus, write_configuration
from tests.support.watching import RANK, processes_named

MODEL = "tiny"
TARGET, DRAFT = b"TargetReplica", b"DraftReplica"
CALM = Ask(max_tokens=(8, 40, 120), pause_s=0.7)
_MIB = 2**20
_REPOSITORY = Path(__file__).parents[2]
WRONG_PLAN: Mapping[str, float] = {
    "requests_per_s": 6.0,
    "max_requests_per_s": 9.0,
    "output_tokens_per_s": 300.0,
    "target_replicas": 1,
    "draft_replicas": 1,
    "sequences": 4.0,
    "max_sequences": 16,
    "kv_bytes_per_rank": 4 * _MIB,  # wrong
    "ttft_s": 0.002,  # too fast
    "itl_s": 0.03,
}
PLAN = {**WRONG_PLAN, "kv_bytes_per_rank": 1_900_000, "ttft_s": 0.08}


@dataclass(frozen=True, slots=True)
class Watched:
    """What runs, and the keys to it."""

    server: LiveServer
    prometheus: Prometheus
    key: str
    configure: Callable[..., object]  # `write_configuration` for this Prometheus

    def scrape(self, *hosts: str, changes: Mapping[str, str] | None = None) -> None:
        """At these names of the machine from now on, and by rules with `changes`."""
        self.configure([f"{host}:{self.server.port}" for host in hosts], changes=changes)
        self.prometheus.reload()

    def clients(self) -> Clients:
        return Clients(self.server.url, MODEL, self.key)

    def kill(self, name: bytes = RANK) -> Process | None:
        """The first process of that name, if there is one now."""
        return self.signal(name, signal.SIGKILL)

    def signal(self, name: bytes, number: signal.Signals) -> Process | None:
        """The first process of that name, if there is one now."""
        found = sorted(processes_named(self.server.process.pid, name), key=lambda process: process.pid)
        if found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(found[0].pid, number)
        return found[0] if found else None

    @contextlib.contextmanager
    def frozen(self, name: bytes) -> Iterator[None]:
        """The first process of that name stands still meanwhile."""
        process = self.signal(name, signal.SIGSTOP)
        assert process is not None, name
        try:
            yield
        finally:
            if process.is_running():
                os.kill(process.pid, signal.SIGCONT)

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.server.url}/ready", timeout=30).status_code == 200
        except httpx.TransportError:
            return False


def arguments(
    folder: Path, keys_file: Path, plan: Mapping[str, float], engine: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    """Two ranks that divide each sequence's blocks, little KV memory, a draft pool, keys, and a plan."""
    tiny = folder / MODEL
    write_tiny_llama(tiny, tokenizer=True, max_position_embeddings=4096)
    return {
        "model": {"path": str(tiny), "dtype": "float32"},
        "engine": {
            "ranks": 2,
            "kv_shards": 2,
            "kv_memory_bytes": 2 * _MIB,
            "host_memory_bytes": 4 * _MIB,
            "num_threads": 1,
            "max_sequences": 16,
            "max_queued_requests": 12,
            "queue_timeout_s": 5,
            **(engine or {}),
        },
        "speculation": {
            "method": "pool",
            "max_draft_tokens": 4,
            "draft": {"path": str(tiny), "dtype": "float32", "num_threads": 1, "max_forks": 0},
        },
        "server": {"keys_file": str(keys_file), "tenant_metrics": True, "ready_timeout_s": 5},
        "plan": plan,
    }


def new_key(file: Path, name: str, *options: str) -> str:
    """A key that `llama4coder keys add` has printed."""
    command = [sys.executable, "-m", "cluster", "keys", "add", name, "--file", str(file), *options]
    return subprocess.run(command, cwd=_REPOSITORY, capture_output=True, text=True, check=True).stdout.strip()


@contextlib.contextmanager
def watched_deployment(plan: Mapping[str, float], engine: Mapping[str, Any] | None = None) -> Iterator[Watched]:
    """Ready, with a Prometheus that scrapes it by a key for metrics; `engine` are settings that differ."""
    with tempfile.TemporaryDirectory(prefix="watched-") as name:
        folder = Path(name)
        keys_file, key_file = folder / "keys.json", folder / "metrics.key"
        key_file.write_text(new_key(keys_file, "prometheus", "--scope", "metrics"))
        key = new_key(keys_file, "alice")
        configure = partial(write_configuration, folder / "prometheus", key_file=key_file)
        with live_server(arguments(folder, keys_file, plan, engine)) as server:
            configuration = configure([f"127.0.0.1:{server.port}"])
            with running_prometheus(folder / "prometheus", configuration) as prometheus:
                yield Watched(server, prometheus, key, configure)
