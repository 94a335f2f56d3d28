"""A Ray of several nodes on this machine, each with a loopback address of its own, and files deployed on it as
`serve deploy` does."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.live_server import free_port, free_ports, write_serve_file

HEAD = "127.0.0.1"
_REPOSITORY = Path(__file__).parents[2]
_RAY = [sys.executable, "-m", "ray.scripts.scripts"]
_TIMEOUT_S = 300.0
_MARK = "L4C_TEST_NODES"  # by which `pids` finds what Ray's processes have started
_FORWARD = """
import asyncio, sys
address, port = sys.argv[1], int(sys.argv[2])
async def carry(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()
async def forward(reader, writer):
    try:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        writer.close()
        return
    await asyncio.gather(carry(reader, inner_writer), carry(inner_reader, writer))
async def serve():
    server = await asyncio.start_server(forward, address, port)
    await server.serve_forever()
asyncio.run(serve())
"""
_DEPLOY = """
import sys, time, yaml, ray
ray.init(address=sys.argv[1], namespace="serve", log_to_driver=False)
from cluster.startup import POLL_S, deploy, is_running
application = deploy(yaml.safe_load(open(sys.argv[2])))
"""
_UNTIL_IT_RUNS = """
while not is_running(application, print):
    time.sleep(POLL_S)
"""


@dataclass(frozen=True, slots=True)
class RayNodes:
    """A running Ray; `url` is that of the endpoint on its head."""

    url: str
    gcs: str
    folder: Path
    head: str = HEAD
    environment: Mapping[str, str] = field(default_factory=dict)  # of every process, beside the tests' own
    has_dashboard: bool = False  # which lists Ray's exporters for a Prometheus

    @property
    def exporters(self) -> Path:
        """The list."""
        return self.folder / "r" / "prom_metrics_service_discovery.json"

    def start_head(self, num_cpus: float) -> None:
        """Start it, or start it anew at the same address."""
        port = self.gcs.rpartition(":")[2]
        # Ray takes a living worker of this machine, which still names the head that was killed, for that head.
        (self.folder / "r" / "ray_current_cluster").unlink(missing_ok=True)
        start = ["start", "--head", f"--node-ip-address={self.head}", f"--port={port}", "--labels=node=head"]
        dashboard = [f"--include-dashboard={str(self.has_dashboard).lower()}", f"--dashboard-port={free_port()}"]
        self._start([*start, f"--temp-dir={self.folder / 'r'}", *dashboard], num_cpus)

    def start_node(self, address: str, num_cpus: float, inside: Sequence[str] = ()) -> None:
        """Add a worker node; `inside` is a command that runs others in a network namespace."""
        start = ["start", f"--address={self.gcs}", f"--node-ip-address={address}", "--labels=node=worker"]
        self._start(start, num_cpus, inside)

    def _start(self, command: list[str], num_cpus: float, inside: Sequence[str] = ()) -> None:
        resources = [f"--num-cpus={num_cpus:g}", "--object-store-memory=80000000", "--disable-usage-stats"]
        self.run(*inside, *_RAY, *command, *resources)

    def deploy(self, args: Mapping[str, Any], **settings: Any) -> None:
        """Deploy `args` and wait until it runs; `settings` are further ones of the application."""
        self._run_deploy(_DEPLOY + _UNTIL_IT_RUNS, args, settings)

    def submit(self, args: Mapping[str, Any], **settings: Any) -> None:
        """Deploy like `deploy`, and do not wait."""
        self._run_deploy(_DEPLOY, args, settings)

    def _run_deploy(self, program: str, args: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        file = write_serve_file(self.folder, args)
        content = yaml.safe_load(file.read_text())
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        content["http_options"] |= {"host": host, "port": int(port)}
        if host != self.head:
            content["proxy_location"] = "EveryNode"
            content["http_options"]["host"] = HEAD  # what is not loopback would need keys; see `forwarded`
        content["applications"][0] |= settings
        file.write_text(yaml.safe_dump(content))
        self.run(sys.executable, "-c", program, self.gcs, str(file))

    def run(self, *command: str) -> str:
        """Run a command with this Ray's environment; returns what it printed."""
        done = subprocess.run(
            command, cwd=_REPOSITORY, env=self._env(), capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def pids(self) -> set[int]:
        """All its processes."""
        marks = str(self.folder).encode(), self.gcs.encode()
        found = set()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                if any(mark in told for mark in marks):
                    found.add(int(entry.name))
        return found

    def kill(self, pids: Iterable[int]) -> None:
        """End some of its processes at once, as if their node's power had failed."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _env(self) -> dict[str, str]:
        ours = {"PYTHONPATH": str(_REPOSITORY), "RAY_ADDRESS": "", "RAY_AUTH_MODE": "disabled", _MARK: str(self.folder)}
        return {**os.environ, **ours, **self.environment}


@contextlib.contextmanager
def ray_nodes(
    head_cpus: float,
    environment: Mapping[str, str] | None = None,
    head: str = HEAD,
    front: str | None = None,
    *,
    has_dashboard: bool = False,
) -> Iterator[RayNodes]:
    """A Ray that has a head; the endpoint is at `front`, or on the head."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    port, gcs_port = free_ports(2)
    url = f"http://{front or head}:{port}"
    nodes = RayNodes(url, f"{head}:{gcs_port}", folder, head, dict(environment or {}), has_dashboard)
    try:
        nodes.start_head(head_cpus)
        yield nodes
    finally:
        deadline_s = time.monotonic() + 20
        while nodes.pids() and time.monotonic() < deadline_s:
            nodes.kill(nodes.pids())
            time.sleep(0.2)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def forwarded(nodes: RayNodes, inside: Sequence[str]) -> Iterator[None]:
    """Make an endpoint on a network namespace's loopback reachable at the address that `nodes.url` says."""
    address, _, port = nodes.url.removeprefix("http://").rpartition(":")
    process = subprocess.Popen([*inside, sys.executable, "-c", _FORWARD, address, port])
    try:
        yield
    finally:
        process.kill()
        process.wait()
