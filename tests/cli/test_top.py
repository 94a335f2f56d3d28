"""The top command: once, as JSON, live in a real terminal, and where there is nothing to see."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import typer
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from llama4coder.cli import top
from llama4coder.obs.merge import merge
from llama4coder.obs.metrics import Metrics
from tests.cli.scripted_endpoint import Endpoint, Reply, json_reply
from tests.support.engine_stats import engine_stats

PROGRAM = "import typer; from llama4coder.cli import top; app = typer.Typer(); top.register(app); app()"
PATIENCE_S = 20.0


def pages(count: int = 2) -> list[Reply]:
    """What a deployment says of itself, while it works."""
    metrics = Metrics(CollectorRegistry())
    metrics.on_state(engine_stats(num_used_blocks=3, num_cached_blocks=2, num_free_blocks=5, num_promised_blocks=4))
    found = []
    for _ in range(count):
        metrics.requests.labels(api="chat_completions", model="tiny", code="200").inc(10)
        for time_s in (0.015, 0.15):
            metrics.time_to_first_token.observe(time_s)
        found.append(Reply((merge({"abcdefgh": metrics.render()}),)))
    return found


def run(url: str, *options: str) -> "typer.testing.Result":
    app = typer.Typer()
    top.register(app)
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, ["--url", url, "--interval-s", "0.1", *options])


def test_one_screen_without_a_terminal(endpoint: Endpoint) -> None:
    endpoint.metrics = pages()
    result = run(endpoint.url)
    assert (result.exit_code, result.stderr) == (0, "")
    shown = result.stdout.splitlines()
    assert all(len(line) <= 80 for line in shown)
    assert shown[0].startswith("tiny · 1 replica · last 0 s")
    assert re.match(r"requests   all \S+/s  200 \S+/s", shown[1])
    assert re.search(r"first token +p50 20 ms  p95 190 ms  p99 198 ms", result.stdout)
    assert re.search(r"abcdefgh █+▓+▒+░* 3 used, 4 promised, 2 cached, 5 free", result.stdout)
    assert "drafts" not in result.stdout and "startup" not in result.stdout


def test_json(endpoint: Endpoint) -> None:
    endpoint.metrics = pages()
    report = json.loads(run(endpoint.url, "--json").stdout)
    assert (report["models"], report["num_replicas"]) == (["tiny"], 1)
    assert report["places"][0]["beside"]["promised"] == 4
    assert [section["title"] for section in report["sections"]][:2] == ["requests", "latency"]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply((b"<html>",)), "has no metrics of llama4coder"),
        (Reply((b"",), 404), "answered with HTTP 404"),
        (Reply((b"",), 503), "answered with HTTP 503"),
        (json_reply({"error": {"message": "no key"}}, 401), "no key (HTTP 401); LLAMA4CODER_API_KEY holds the one"),
    ],
)
def test_nothing_to_see(endpoint: Endpoint, reply: Reply, message: str) -> None:
    endpoint.metrics = [reply]
    result = run(endpoint.url)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        result = run(f"http://127.0.0.1:{unused.getsockname()[1]}/v1", "--once")
    assert result.exit_code == 1
    assert "is it running? Name another with --url" in result.stderr


@dataclass
class Terminal:
    """A real one, with a program in it; `output` is all that it was sent."""

    pid: int
    descriptor: int
    output: str = ""
    status: int | None = field(default=None)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, condition: Callable[[list[str]], bool]) -> list[str]:
        """The lines of the screen as soon as they are so."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition(self.screen()):
            assert time.monotonic() < deadline_s, "\n".join(self.screen())
            self._read()
        return self.screen()

    def screen(self) -> list[str]:
        """The last whole frame; each one is painted from the corner."""
        frames = self.output.split("\x1b[H")
        last = frames[-2] if len(frames) > 2 else ""
        return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", last).splitlines()]

    def ends(self) -> int:
        """The exit status, once it has ended by itself."""
        deadline_s = time.monotonic() + PATIENCE_S
        while self.status is None:
            assert time.monotonic() < deadline_s
            self._read()
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if ended else None
        self._read()
        return self.status

    def _read(self) -> None:
        if select.select([self.descriptor], [], [], 0.05)[0]:
            try:
                self.output += os.read(self.descriptor, 65536).decode()
            except OSError:  # it has been closed on the other side
                pass


@pytest.fixture
def in_terminal() -> Iterator[Callable[..., Terminal]]:
    terminals: list[Terminal] = []

    def start(url: str, columns: int = 80, rows: int = 24) -> Terminal:
        pid, descriptor = pty.fork()
        if pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # even if the tests ignore it
            environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "", "LINES": ""}
            command = [sys.executable, "-c", PROGRAM, "--url", url, "--interval-s", "0.1"]
            os.execve(sys.executable, command, environment)
        terminal = Terminal(pid, descriptor)
        terminal.resize(columns, rows)
        terminals.append(terminal)
        return terminal

    yield start
    for terminal in terminals:
        if terminal.status is None:
            os.kill(terminal.pid, signal.SIGKILL)
            os.waitpid(terminal.pid, 0)
        os.close(terminal.descriptor)


def test_live_in_a_terminal(endpoint: Endpoint, in_terminal: Callable[..., Terminal]) -> None:
    """It fits, follows the terminal's size, says when the server is away, goes on, and leaves all as it was."""
    endpoint.metrics = pages(60)
    terminal = in_terminal(endpoint.url)
    shown = terminal.until(lambda lines: any("first token" in line for line in lines))
    assert len(shown) <= 24 and max(map(len, shown)) <= 80
    assert any("3 used, 4 promised, 2 cached, 5 free" in line for line in shown)
    assert "\x1b[?1049h" in terminal.output, "on the alternate screen"
    terminal.resize(60, 5)
    terminal.until(lambda lines: len(lines) <= 5 and any("no room for queue, KV blocks" in line for line in lines))
    terminal.resize(100, 30)
    endpoint.metrics = [Reply((b"",), 503)]
    terminal.until(lambda lines: any("HTTP 503; trying again" in line for line in lines))
    assert any("first token" in line for line in terminal.screen()), "the last figures stay"
    endpoint.metrics = pages(60)
    terminal.until(lambda lines: any("first token" in line for line in lines) and "trying" not in "".join(lines))
    os.write(terminal.descriptor, b"\x03")
    assert terminal.ends() == 0
    assert terminal.output.rindex("\x1b[?1049l") > terminal.output.rindex("\x1b[?1049h"), "the usual screen again"
    assert terminal.output.rindex("\x1b[?25h") > terminal.output.rindex("\x1b[?25l"), "with its cursor"
    assert "Traceback" not in terminal.output


def test_a_server_that_comes_later(in_terminal: Callable[..., Terminal]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        terminal = in_terminal(f"http://127.0.0.1:{unused.getsockname()[1]}/v1")
        terminal.until(lambda lines: any("cannot reach" in line for line in lines))


def test_a_terminal_without_a_key(endpoint: Endpoint, in_terminal: Callable[..., Terminal]) -> None:
    endpoint.metrics = [json_reply({"error": {"message": "an API key is needed"}}, 401)]
    terminal = in_terminal(endpoint.url)
    assert terminal.ends() == 1
    assert "LLAMA4CODER_API_KEY holds the one to show" in terminal.output.replace("\r\n", "")
