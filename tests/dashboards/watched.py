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

from cluster.processes import Process, descendants
from tests.dashboards.load import Ask, Clients, until
from tests.support.live_server import live_server
from tests.support.models import write_tiny_llama
from tests.support.prometheus import Prometheus, running_prometheus, write_configuration
from tests.support.ray_nodes import RayNodes, ray_nodes
from tests.support.watching import RANK, command_line, processes_named

MODEL = "tiny"
TARGET, DRAFT = b"TargetReplica", b"DraftReplica"
CALM = Ask(max_tokens=(8, 40, 120), pause_s=0.7)
_MIB = 2**20
_CPUS = 4.0  # that Ray is told of; what the deployment takes of them is its own affair
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

    url: str
    prometheus: Prometheus
    key: str
    configure: Callable[..., object]  # `write_configuration` for this Prometheus
    find: Callable[[bytes], set[Process]]  # processes of its Ray, by a part of their command lines
    stop: Callable[[], object]

    def scrape(self, *hosts: str, changes: Mapping[str, str] | None = None) -> None:
        """At these names of the machine from now on, and by rules with `changes`."""
        self.configure([f"{host}:{httpx.URL(self.url).port}" for host in hosts], changes=changes)
        self.prometheus.reload()

    def clients(self) -> Clients:
        return Clients(self.url, MODEL, self.key)

    def kill(self, name: bytes = RANK) -> Process | None:
        """The first process of that name, if there is one now."""
        return self.signal(name, signal.SIGKILL)

    def signal(self, name: bytes, number: signal.Signals) -> Process | None:
        """The first process of that name, if there is one now."""
        found = sorted(self.find(name), key=lambda process: process.pid)
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
            return httpx.get(f"{self.url}/ready", timeout=30).status_code == 200
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
    with _keys() as keys, live_server(arguments(keys.folder, keys.file, plan, engine)) as server:
        find = partial(processes_named, server.process.pid)
        with _prometheus(keys, server.url) as watching:
            yield Watched(server.url, watching.prometheus, keys.user, watching.configure, find, server.stop)


@contextlib.contextmanager
def watched_on_ray(plan: Mapping[str, float]) -> Iterator[Watched]:
    """The same as `serve deploy` has it, on a Ray of its own, whose exporters are scraped, too."""
    with _keys() as keys, ray_nodes(_CPUS, has_dashboard=True) as nodes:
        nodes.deploy(arguments(keys.folder, keys.file, plan))
        with _prometheus(keys, nodes.url, nodes.exporters) as watching:
            find, stop = partial(_named, nodes), partial(_end, nodes)
            watched = Watched(nodes.url, watching.prometheus, keys.user, watching.configure, find, stop)
            assert until(watched.is_ready, 120)
            yield watched


def _named(nodes: RayNodes, name: bytes) -> set[Process]:
    return {process for process in descendants(nodes.pids()) if name in command_line(process.pid)}


def _end(nodes: RayNodes) -> None:
    nodes.kill(nodes.pids())


@dataclass(frozen=True, slots=True)
class _Keys:
    folder: Path
    file: Path
    user: str
    for_metrics: Path


@contextlib.contextmanager
def _keys() -> Iterator[_Keys]:
    with tempfile.TemporaryDirectory(prefix="watched-") as name:
        folder = Path(name)
        keys_file, key_file = folder / "keys.json", folder / "metrics.key"
        key_file.write_text(new_key(keys_file, "prometheus", "--scope", "metrics"))
        yield _Keys(folder, keys_file, new_key(keys_file, "alice"), key_file)


@dataclass(frozen=True, slots=True)
class _Watching:
    prometheus: Prometheus
    configure: Callable[..., object]


@contextlib.contextmanager
def _prometheus(keys: _Keys, url: str, exporters: Path | None = None) -> Iterator[_Watching]:
    folder = keys.folder / "prometheus"
    configure = partial(write_configuration, folder, key_file=keys.for_metrics, exporters=exporters)
    configuration = configure([f"127.0.0.1:{httpx.URL(url).port}"])
    with running_prometheus(folder, configuration) as prometheus:
        yield _Watching(prometheus, configure)
