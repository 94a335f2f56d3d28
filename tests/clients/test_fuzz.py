"""schemathesis reads our OpenAPI document and sends what it allows and what it forbids: nothing is a 5xx."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.clients.environments import python_environment
from tests.support.live_server import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SCHEMATHESIS = "schemathesis==4.32.5"
REPOSITORY = Path(__file__).parents[2]
HOOKS = Path(__file__).with_name("fuzz_hooks.py")
NUM_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "20"))  # of each operation, besides those of the coverage phase
START_TIMEOUT_S = 60.0
TIMEOUT_S = 1000.0
MANAGED = "^/api/(pull|push|create|copy|delete|blobs)"  # refused whatever the body


@pytest.fixture
def url() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.clients.fuzzed_site", str(port)], cwd=REPOSITORY)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not _is_up(url):
            assert process.poll() is None and time.monotonic() < deadline_s
            time.sleep(0.1)
        yield url
    finally:
        process.kill()
        process.wait()


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


def test_no_request_is_a_server_error(tmp_path: Path, url: str) -> None:
    binaries = python_environment(tmp_path / "venv", SCHEMATHESIS)
    command = [str(binaries / "schemathesis"), "run", f"{url}/openapi.json", "--checks", "not_a_server_error"]
    command += ["--phases", "coverage,fuzzing", "--max-examples", str(NUM_EXAMPLES), "--continue-on-failure"]
    command += ["--seed", "8", "--exclude-path-regex", MANAGED]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": str(HOOKS)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert passed is not None and passed[1] == passed[2] and int(passed[1]) > 300, done.stdout
