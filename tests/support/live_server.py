"""The real server, started as a user would start it, on a port of its own."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

READY_MARK = "llama4coder is ready"
START_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 10.0  # the promise of `llama4coder serve`

_REPOSITORY = Path(__file__).parents[2]
_PORTS = range(20_000, 30_000)  # below those of Ray Serve and Linux


@dataclass(frozen=True, slots=True)
class LiveServer:
    """A running `llama4coder serve`; `url` is without `/v1`, `log` holds all that it printed."""

    url: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_until_ready(self) -> None:
        """Wait for the printed URL; `AssertionError` with the output if the process ends before."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while READY_MARK not in self.output():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline_s, self.output()
            time.sleep(0.1)

    def stop(self, signal_number: int = signal.SIGINT) -> int:
        """Signal it and return its exit status; `subprocess.TimeoutExpired` if it takes too long."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        return self.process.wait(STOP_TIMEOUT_S)


def free_port() -> int:
    """A port that nobody listens on now."""
    return free_ports(1)[0]


def free_ports(number: int) -> list[int]:
    """Different ports that nobody listens on now.

    Not of those that the system gives to connections and to whoever asks for any: Ray's many processes would take one
    between here and its use.
    """
    ports: list[int] = []
    while len(ports) < number:
        port = secrets.choice(_PORTS)
        if port not in ports and _is_free(port):
            ports.append(port)
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


def write_serve_file(folder: Path, args: Mapping[str, Any]) -> Path:
    """A Serve config file like the default one, with these `args`."""
    content = yaml.safe_load((_REPOSITORY / "deploy" / "serve" / "embedded-cpu.yaml").read_text())
    content["applications"][0]["args"] = dict(args)
    file = folder / "serve.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def start_server(folder: Path, args: Mapping[str, Any], port: int | None = None, **env: str) -> LiveServer:
    """Start it and do not wait; its output and config file are in `folder`."""
    port = port or free_port()
    log = folder / "serve.log"
    command = [sys.executable, "-m", "cluster", "serve", "--port", str(port)]
    command += ["--config", str(write_serve_file(folder, args))]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=_REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **env},
            start_new_session=True,  # a Ctrl-C at the tests is not one at the server
        )
    return LiveServer(f"http://127.0.0.1:{port}", port, process, log)


@contextlib.contextmanager
def live_server(config_overrides: Mapping[str, Any]) -> Iterator[LiveServer]:
    """A ready server with `config_overrides` as the application's `args`; stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="live-") as folder:
        server = start_server(Path(folder), config_overrides)
        try:
            server.wait_until_ready()
            yield server
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.stop()
            server.process.kill()
            server.process.wait()
