"""litellm and Aider, each in an environment of its own, against the real server."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.clients.conftest import MODEL
from tests.clients.environments import python_environment
from tests.support.live_server import LiveServer

pytestmark = [pytest.mark.cluster, pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(1800)]

LITELLM = "litellm==1.110.2"
AIDER = "aider-chat==0.86.2"
CALLS = Path(__file__).with_name("litellm_calls.py")
TIMEOUT_S = 600.0
BRIEF = {"max_tokens": 256, "stop": ["\n", "."]}  # a model of this size does not know when to stop
MODEL_LIMITS = {
    "max_tokens": 8192,
    "max_input_tokens": 8192,
    "max_output_tokens": 256,
    "input_cost_per_token": 0,
    "output_cost_per_token": 0,
    "litellm_provider": "openai",
    "mode": "chat",
}
AIDER_OPTIONS = (
    *("--model", f"openai/{MODEL}", "--model-metadata-file", "limits.json"),
    *("--model-settings-file", "settings.yml", "--no-show-model-warnings", "--map-tokens", "0"),
    *("--yes-always", "--no-pretty", "--no-check-update", "--analytics-disable", "--no-gitignore", "--no-auto-commits"),
)


def run(command: list[str], folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    everything = {**os.environ, "HOME": str(folder), "LITELLM_LOCAL_MODEL_COST_MAP": "True", **env}
    return subprocess.run(
        command,
        cwd=folder,
        env=everything,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_litellm_gets_the_same_answer_by_every_provider(tmp_path: Path, server: LiveServer) -> None:
    binaries = python_environment(tmp_path / "venv", LITELLM)
    done = run([str(binaries / "python"), str(CALLS), server.url, MODEL], tmp_path)
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout.splitlines()[-1])
    assert got.pop("error") == 404
    assert got.pop("too_long") is True
    assert got.pop("text")
    assert len(got) == 8 and set(got.values()) == {got["openai"]}
    assert "Paris" in got["openai"]


def test_aider_edits_without_an_error_of_the_protocol(tmp_path: Path, server: LiveServer) -> None:
    """How good an edit a model of 135M parameters makes is not the question."""
    binaries = python_environment(tmp_path / "venv", AIDER)
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "calc.py").write_text("def add(a, b):\n    return a - b\n")
    settings = [{"name": f"openai/{MODEL}", "extra_params": BRIEF}]
    (folder / "settings.yml").write_text(yaml.safe_dump(settings))
    (folder / "limits.json").write_text(json.dumps({f"openai/{MODEL}": MODEL_LIMITS}))
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    for options in (("--edit-format", "whole"), ("--edit-format", "diff", "--no-stream")):
        command = [str(binaries / "aider"), *AIDER_OPTIONS, *options, "--message", "Fix the bug in add.", "calc.py"]
        done = run(command, folder, OPENAI_API_BASE=f"{server.url}/v1", OPENAI_API_KEY="none")
        assert done.returncode == 0, done.stderr
        assert re.search(r"Tokens: [\d.,k]+ sent, [\d.,k]+ received", done.stdout), done.stdout
        assert "litellm." not in done.stdout + done.stderr, done.stdout
