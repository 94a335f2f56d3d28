"""A server lives in a network that has loopback alone, and nobody in it ever tries to leave."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.silence.lone_session import WATCHED

pytestmark = [pytest.mark.cluster, pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]
LONE = ("unshare", "--map-root-user", "--net")
TRY = "import socket; socket.socket().connect_ex(('192.0.2.1', 80)); socket.socket(2, 2).connect_ex(('192.0.2.1', 53))"
COUNT = "from tests.silence.lone_session import routeless; print(routeless())"


@pytest.fixture(autouse=True)
def namespaces() -> None:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("there is no unshare or no ip on this machine")
    if subprocess.run([*LONE, "true"], capture_output=True).returncode != 0:
        pytest.skip("this user may make no network namespaces here")


def lone(*arguments: str, **env: str) -> str:
    command = [*LONE, sys.executable, *arguments]
    environment = {**os.environ, **env}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_connect_that_leaves_loopback_is_seen_twice(tmp_path: Path) -> None:
    """By the kernel, whoever makes it; and by Python, which also tells who it was."""
    assert lone("-c", COUNT).strip() == "0"
    log = tmp_path / "outgoing"
    count = lone("-c", f"{TRY}; {COUNT}", PYTHONPATH=f"{WATCHED}{os.pathsep}{REPOSITORY}", OUTGOING_LOG=str(log))
    assert int(count) >= 2
    assert log.read_text().count("192.0.2.1") == 2


def test_the_server_needs_and_asks_nobody(tmp_path: Path) -> None:
    told = json.loads(lone("-m", "tests.silence.lone_session", str(tmp_path)))
    assert told["status"] == 0, told["output"]
    answers = told["answers"]
    assert answers.pop("/v1/fim/completions") == answers.pop("/infill") == 400, "the embedded model fills no holes"
    assert answers.pop("/api/show") == answers.pop("/detokenize") == 404, "they name another model"
    assert set(answers.values()) == {200}, answers
    outgoing = tmp_path / "outgoing"
    assert not outgoing.exists(), outgoing.read_text()
    assert told["routeless"] == 0
