"""Two Ray nodes with addresses of their own on this machine: this network namespace and another one, joined by a veth
pair. Needs to be root."""

import contextlib
import os
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

import yaml

from llama4coder.env import CACHE_VARIABLE
from tests.support.live_server import free_port, write_serve_file

HEAD, WORKER = "10.213.7.1", "10.213.7.2"
NAMESPACE, OUTER, INNER = "l4c-worker", "l4c-outer", "l4c-inner"
_LOOPBACK = "127.0.0.1"  # elsewhere the endpoint would ask for keys
_REPOSITORY = Path(__file__).parents[2]
_RAY = [sys.executable, "-m", "ray.scripts.scripts"]
_TIMEOUT_S = 120.0
_STARTED = "started"
_DEPLOY = """
import sys, time, yaml, ray
ray.init(address=sys.argv[1], namespace="serve", log_to_driver=False)
from cluster.startup import POLL_S, deploy, is_running
application = deploy(yaml.safe_load(open(sys.argv[2])))
while not is_running(application, print):
    time.sleep(POLL_S)
print("started", flush=True)
time.sleep(3600)
"""


def can_make_nodes() -> bool:
    """Whether this process may make network namespaces."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    made = subprocess.run(["ip", "netns", "add", NAMESPACE], capture_output=True, check=False).returncode == 0
    if made:
        _run("ip", "netns", "del", NAMESPACE)
    return made


@dataclass(frozen=True, slots=True)
class TwoNodes:
    """A Ray of a head, where the endpoint is, and a worker node that can be killed and started anew."""

    url: str
    gcs: str
    folder: Path

    def start_worker(self) -> None:
        inside = ("ip", "netns", "exec", NAMESPACE)
        start = [*_RAY, "start", f"--address={self.gcs}", f"--node-ip-address={WORKER}", "--labels=node=worker"]
        resources = ["--num-cpus=1", "--object-store-memory=80000000", "--disable-usage-stats"]
        _run(*inside, *start, *resources, **{CACHE_VARIABLE: str(self.worker_cache)})

    @property
    def worker_cache(self) -> Path:
        """Where the worker keeps models that it has converted: nodes share no cache."""
        return self.folder / "worker-cache"

    def worker_pids(self) -> list[int]:
        """The processes of the worker node."""
        return pids_inside()

    def kill_worker(self) -> None:
        """As if its power had failed."""
        for pid in self.worker_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def pids_inside() -> list[int]:
    """The processes in the worker's network namespace."""
    return [int(line) for line in _run("ip", "netns", "pids", NAMESPACE).split()]


@contextlib.contextmanager
def two_nodes(args: Mapping[str, Any]) -> Iterator[TwoNodes]:
    """The application with these `args`, ready on both nodes."""
    folder = Path(tempfile.mkdtemp(prefix="two-", dir="/tmp"))
    port, gcs = free_port(), f"{HEAD}:{free_port()}"
    nodes = TwoNodes(f"http://{_LOOPBACK}:{port}", gcs, folder)
    driver: subprocess.Popen[bytes] | None = None
    with joined_namespace():
        try:
            start = [*_RAY, "start", "--head", f"--node-ip-address={HEAD}", f"--port={gcs.rpartition(':')[2]}"]
            start += ["--labels=node=head", f"--temp-dir={folder / 'r'}", "--include-dashboard=false"]
            _run(*start, "--num-cpus=2", "--object-store-memory=80000000", "--disable-usage-stats")
            nodes.start_worker()
            driver = _deploy(nodes, args, port)
            yield nodes
        finally:
            if driver is not None:
                driver.kill()
                driver.wait()
            nodes.kill_worker()
            _kill_head(nodes)
            shutil.rmtree(folder, ignore_errors=True)


def _deploy(nodes: TwoNodes, args: Mapping[str, Any], port: int) -> "subprocess.Popen[bytes]":
    file = write_serve_file(nodes.folder, args)
    content = yaml.safe_load(file.read_text())
    content["http_options"] |= {"host": _LOOPBACK, "port": port}
    file.write_text(yaml.safe_dump(content))
    log = nodes.folder / "driver.log"
    with log.open("wb") as output:
        command = [sys.executable, "-c", _DEPLOY, nodes.gcs, str(file)]
        driver = subprocess.Popen(command, cwd=_REPOSITORY, stdout=output, stderr=output, env=_environment())
    deadline_s = time.monotonic() + _TIMEOUT_S
    while _STARTED not in log.read_text().splitlines():
        assert driver.poll() is None and time.monotonic() < deadline_s, log.read_text()
        time.sleep(0.2)
    return driver


@contextlib.contextmanager
def joined_namespace() -> Iterator[None]:
    """The worker's network namespace, joined to this one."""
    _run("ip", "netns", "add", NAMESPACE)
    try:
        _run("ip", "link", "add", OUTER, "type", "veth", "peer", "name", INNER, "netns", NAMESPACE)
        _run("ip", "addr", "add", f"{HEAD}/24", "dev", OUTER)
        _run("ip", "link", "set", OUTER, "up")
        for command in (
            ["addr", "add", f"{WORKER}/24", "dev", INNER],
            ["link", "set", INNER, "up"],
            ["link", "set", "lo", "up"],
        ):
            _run("ip", "-n", NAMESPACE, *command)
        yield
    finally:
        _run("ip", "netns", "del", NAMESPACE)
        subprocess.run(["ip", "link", "del", OUTER], capture_output=True, check=False)


def _kill_head(nodes: TwoNodes) -> None:
    """All that names our folder or our address in its command line or environment; other Rays are not touched."""
    marks = str(nodes.folder).encode(), nodes.gcs.encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            if any(mark in told for mark in marks):
                os.kill(int(entry.name), signal.SIGKILL)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(_REPOSITORY), "RAY_ADDRESS": "", "RAY_AUTH_MODE": "disabled"}


def _run(*command: str, **variables: str) -> str:
    environment = _environment() | variables
    done = subprocess.run(
        command, cwd=_REPOSITORY, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout
