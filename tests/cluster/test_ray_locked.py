"""The private Ray is closed to whoever lacks its token, even on this machine."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from cluster.env import make_private_folder
from cluster.processes import descendants
from tests.support.watching import command_line

pytestmark = pytest.mark.cluster

# As `llama4coder serve` starts it; ends with its standard input.
START = """
import os, sys
from pathlib import Path
from cluster.env import confine_ray
folder = Path(sys.argv[1])
confine_ray(folder)
from cluster.local_ray import LocalRay
local_ray = LocalRay(folder, 1)
local_ray.start()
import ray
print(ray.get_runtime_context().gcs_address, os.environ["RAY_AUTH_TOKEN"], flush=True)
sys.stdin.read()
local_ray.stop()
"""
JOIN = """
import sys
from ray._raylet import GcsClient
print("nodes:", len(GcsClient(address=sys.argv[1]).get_all_node_info(timeout=5)))
"""


@dataclass(frozen=True, slots=True)
class PrivateRay:
    address: str
    token: str
    pid: int


@pytest.fixture(scope="module")
def private_ray() -> Iterator[PrivateRay]:
    folder = make_private_folder()
    command = [sys.executable, "-c", START, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=without_ray())
    assert process.stdin is not None and process.stdout is not None
    try:
        address, token = process.stdout.readline().split()
        yield PrivateRay(address, token, process.pid)
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()
        shutil.rmtree(folder, ignore_errors=True)


def without_ray(**variables: str) -> dict[str, str]:
    """The environment of somebody else on this machine."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | variables


def join(private_ray: PrivateRay, **variables: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", JOIN, private_ray.address]
    return subprocess.run(
        command, env=without_ray(**variables), capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    "variables", [{"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}]
)
def test_nobody_joins_without_the_token(private_ray: PrivateRay, variables: Mapping[str, str]) -> None:
    refused = join(private_ray, **variables)
    assert refused.returncode != 0 and "nodes:" not in refused.stdout
    assert "authentication" in refused.stderr.lower() or "token" in refused.stderr.lower()


def test_whoever_has_it_joins(private_ray: PrivateRay) -> None:
    joined = join(private_ray, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=private_ray.token)
    assert joined.stdout == "nodes: 1\n", joined.stderr


def test_no_job_is_taken_without_the_token(private_ray: PrivateRay) -> None:
    """Whatever listens is asked: the dashboard does not run, and its agents want the token."""
    statuses = {}
    for port in listening_ports(private_ray.pid):
        for path in ("/api/jobs/", "/api/job_agent/jobs/", "/api/serve/applications/"):
            try:
                answer = httpx.post(f"http://127.0.0.1:{port}{path}", json={"entrypoint": "true"}, timeout=2)
            except httpx.HTTPError:
                continue  # not HTTP
            statuses[port, path] = answer.status_code
    assert set(statuses.values()) <= {401, 403, 404, 405}
    names = [command_line(process.pid) for process in descendants({private_ray.pid})]
    assert not any(b"ray.util.client" in name for name in names), "no server for Ray's clients"
    (dashboard,) = (name for name in names if b"dashboard/dashboard.py" in name)
    assert b"--modules-to-load=UsageStatsHead" in dashboard, "it has no jobs and no pages"


def test_the_token_is_in_no_file(private_ray: PrivateRay) -> None:
    folders = {
        Path(argument.split(b"=")[1].decode()).parents[1]
        for process in descendants({private_ray.pid})
        for argument in command_line(process.pid).split(b"\0")
        if argument.startswith((b"--session-dir=", b"--session_dir="))
    }
    (folder,) = folders
    for file in folder.rglob("*"):
        if file.is_file():
            assert private_ray.token.encode() not in file.read_bytes(), file
    assert all(
        private_ray.token.encode() not in command_line(process.pid) for process in descendants({private_ray.pid})
    )


def listening_ports(pid: int) -> set[int]:
    inodes = set()
    for process in descendants({pid}):
        for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
            try:
                target = os.readlink(descriptor)
            except FileNotFoundError:  # closed since it was listed
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    lines = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()]
    return {int(line[1].split(":")[1], 16) for line in lines if line[3] == "0A" and line[9] in inodes}
