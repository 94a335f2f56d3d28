"""The official packages of OpenAI and Ollama for Node against the real server."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import MODEL
from tests.clients.environments import node_environment
from tests.support.live_server import LiveServer

pytestmark = [pytest.mark.cluster, pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(1200)]

SCRIPT = Path(__file__).with_name("sdks.mjs")
PACKAGES = ("openai@6", "ollama@0.6")
TIMEOUT_S = 300.0


def test_they_get_the_same_answer_by_every_road(tmp_path: Path, server: LiveServer) -> None:
    folder = node_environment(tmp_path, *PACKAGES)
    shutil.copy(SCRIPT, folder)
    command = ["node", SCRIPT.name, server.url, MODEL]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert "Paris" in got["chat"]
    assert {
        got[each] for each in ("chat", "chatStream", "chatRunner", "ollamaChat", "ollamaStream", "ollamaGenerate")
    } == {got["chat"]}
    assert got["completion"] == got["completionStream"] != ""
    assert got["usage"] == got["streamUsage"] > 0
    assert MODEL in got["models"] and got["tags"] == got["running"] == got["models"]
    assert got["family"] == "llama"
    assert got["notFound"] == [True, 404, "model_not_found"]
    assert got["badRequest"] == [True, "temperature"]
    assert got["aborted"] is True
    assert got["pull"] == 403
