"""`llama4coder serve` where others can reach it: not without keys, and with keys and TLS as a whole."""

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.certificates import write_certificates
from tests.support.live_server import LiveServer, free_port, write_serve_file

_REPOSITORY = Path(__file__).parents[2]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "cluster", *map(str, arguments)]


def run(folder: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "PYTHONPATH": str(_REPOSITORY)}
    return subprocess.run(
        command(*arguments), cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )


def key_of(folder: Path, name: str, *options: str) -> str:
    return run(folder, "keys", "add", name, "--file", "keys.json", *options).stdout.strip()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "llama4coder keys add NAME --file"),
        (["--keys-file", "none.json"], "cannot be read"),
        (["--keys-file", "keys.json", "--tls-cert", "cert.pem"], "needs both"),
        (["--keys-file", "keys.json", "--tls-cert", "key.pem", "--tls-key", "cert.pem"], "no certificate and its key"),
        (["--keys-file", "keys.json", "--tls-cert", "no.pem", "--tls-key", "key.pem"], "cannot be read"),
    ],
)
def test_it_does_not_start_unlocked(tmp_path: Path, options: Sequence[str], words: str) -> None:
    write_certificates(tmp_path)
    key_of(tmp_path, "alice")
    refused = run(tmp_path, "serve", "--host", "0.0.0.0", "--port", free_port(), *options)
    assert refused.returncode == 1
    (line,) = refused.stderr.strip().splitlines()
    assert words in line


@pytest.mark.cluster
@pytest.mark.slow
def test_keys_and_tls_as_a_whole(tiny_args: dict[str, Any], tmp_path: Path) -> None:
    files = write_certificates(tmp_path)
    alice = key_of(tmp_path, "alice", "--limit", "requests_per_min=50")
    prometheus = key_of(tmp_path, "prometheus", "--scope", "metrics")
    port, log = free_port(), tmp_path / "serve.log"
    options = ["--host", "0.0.0.0", "--port", port, "--config", write_serve_file(tmp_path, tiny_args)]
    options += ["--keys-file", "keys.json", "--tls-cert", "cert.pem", "--tls-key", "key.pem"]
    env = {**os.environ, "PYTHONPATH": str(_REPOSITORY)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command("serve", *options), cwd=tmp_path, env=env, stdout=output, stderr=subprocess.STDOUT
        )
    server = LiveServer(f"https://127.0.0.1:{port}", port, process, log)
    try:
        server.wait_until_ready()
        trusting = ssl.create_default_context(cafile=files.authority)
        with httpx.Client(base_url=server.url, verify=trusting, timeout=30) as client:
            look_around(client, alice, prometheus)
            run(tmp_path, "keys", "revoke", "alice", "--file", "keys.json")
            time.sleep(1.5)
            assert client.get("/v1/models", headers=bearer(alice)).status_code == 401
        assert f"{server.url}/v1" in server.output() and "Bearer YOUR_KEY" in server.output()
        assert not any(key in server.output() for key in (alice, prometheus))
    finally:
        server.stop(signal.SIGINT)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def look_around(client: httpx.Client, alice: str, prometheus: str) -> None:
    statuses = [client.get(path).status_code for path in ("/health", "/ready", "/v1/models", "/metrics", "/nowhere")]
    assert statuses == [200, 200, 401, 401, 401]
    assert [client.get("/metrics", headers=bearer(key)).status_code for key in (alice, prometheus)] == [403, 200]
    body = {"model": "tiny", "prompt": "def add(", "max_tokens": 5}
    answer = client.post("/v1/completions", json=body, headers=bearer(alice))
    assert answer.status_code == 200
    assert answer.headers["x-ratelimit-remaining-requests"] == "49"
