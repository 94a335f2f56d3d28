"""Where the cache is, and that nothing calls out unless the operator says so."""

import os
from pathlib import Path

import pytest

from llama4coder import env


def test_cache_folder_in_order_of_precedence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LLAMA4CODER_CACHE", raising=False)
    assert env.cache_dir() == Path("/home/somebody/.cache/llama4coder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert env.cache_dir() == tmp_path / "llama4coder"
    monkeypatch.setenv("LLAMA4CODER_CACHE", "~/mine")
    assert env.cache_dir() == Path("/home/somebody/mine")


def test_the_key_of_our_own_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLAMA4CODER_API_KEY", raising=False)
    assert env.api_key() is None
    monkeypatch.setenv("LLAMA4CODER_API_KEY", "")
    assert env.api_key() is None
    monkeypatch.setenv("LLAMA4CODER_API_KEY", "l4c-x")
    assert env.api_key() == "l4c-x"


def test_every_outgoing_call_is_off_and_the_operator_can_turn_one_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in env.offline_environment():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    env.silence_telemetry()
    wanted = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "0",
        "TOKENIZERS_PARALLELISM": "false",
    }
    assert {name: os.environ[name] for name in wanted} == wanted == env.offline_environment()
