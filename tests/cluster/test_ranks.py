"""A replica of several ranks on a real local Ray, and what its clients see when a rank is killed."""

import json
import logging
import os
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.processes import Process, descendants
from tests.support.live_server import LiveServer, live_server
from tests.support.models import write_tiny_llama

pytestmark = pytest.mark.cluster

NUM_RANKS = 2
NUM_STREAMS = 16

_log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    write_tiny_llama(folder, tokenizer=True, max_position_embeddings=4096)
    engine = {"kv_memory_bytes": 64 * 2**20, "ranks": NUM_RANKS, "num_threads": 1}
    with live_server({"model": {"path": str(folder), "dtype": "float32"}, "engine": engine}) as server:
        yield server


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    finish_reasons: tuple[str, ...]
    num_output_tokens: int


def ranks(server: LiveServer) -> set[Process]:
    found = set()
    for process in descendants({server.process.pid}):
        try:
            command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        except FileNotFoundError:  # it has ended
            continue
        if b"ray::RankActor" in command:
            found.add(process)
    return found


def body(number: int, max_tokens: int) -> dict[str, Any]:
    """Greedy and seeded requests in turn, with prompts of their own."""
    sampling = {"temperature": 0} if number % 2 else {"temperature": 0.9, "top_p": 0.9, "seed": number}
    prompt = f"def function_{number}(argument):"
    return {"model": "tiny", "prompt": prompt, "max_tokens": max_tokens, "ignore_eos": True, **sampling}


def stream(server: LiveServer, request: dict[str, Any]) -> Answer:
    text, reasons, num_tokens = "", [], 0
    options = {"stream": True, "stream_options": {"include_usage": True}}
    with httpx.stream("POST", f"{server.url}/v1/completions", json=request | options, timeout=120) as response:
        assert response.status_code == 200
        for line in response.iter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line.removeprefix("data: "))
            assert "error" not in event, event
            for choice in event["choices"]:
                text += choice["text"]
                reasons += [choice["finish_reason"]] if choice["finish_reason"] else []
            num_tokens = event["usage"]["completion_tokens"] if event.get("usage") else num_tokens
    return Answer(text, tuple(reasons), num_tokens)


def used_blocks(server: LiveServer) -> float:
    """Of the replica that lives; a moment after another's death there may be none to ask."""
    families = text_string_to_metric_families(httpx.get(f"{server.url}/metrics").text)
    samples = [sample for family in families if family.name == "llama4coder_kv_blocks" for sample in family.samples]
    return sum(sample.value for sample in samples if sample.labels["state"] == "used")


def until(condition: Any, timeout_s: float) -> float:
    started_s = time.monotonic()
    while not condition():
        assert time.monotonic() - started_s < timeout_s, "it did not come to pass"
        time.sleep(0.1)
    return time.monotonic() - started_s


def is_ready(server: LiveServer) -> bool:
    return httpx.get(f"{server.url}/ready", timeout=30).status_code == 200


def kill_under_streams(server: LiveServer, num_streams: int, max_tokens: int, chance: random.Random) -> float:
    """SIGKILL a rank at some moment of so many streams, and compare them with undisturbed ones; returns how long
    the longest of them took."""
    requests = [body(number, max_tokens) for number in range(num_streams)]
    with ThreadPoolExecutor(num_streams) as pool:
        expected = list(pool.map(lambda request: stream(server, request), requests))
        old = ranks(server)
        assert len(old) == NUM_RANKS
        running = [pool.submit(stream, server, request) for request in requests]
        started_s = time.monotonic()
        time.sleep(chance.uniform(0.05, 1.0))
        os.kill(chance.choice(sorted(old, key=lambda process: process.pid)).pid, signal.SIGKILL)
        answers = [future.result() for future in running]
    elapsed_s = time.monotonic() - started_s
    assert answers == expected
    assert all(answer.finish_reasons == ("length",) and answer.num_output_tokens == max_tokens for answer in answers)
    until(lambda: is_ready(server), 60)
    assert not any(process.is_running() for process in old), "all ranks of the lost replica have ended"
    assert len(ranks(server)) == NUM_RANKS
    until(lambda: used_blocks(server) == 0, 20)
    return elapsed_s


def test_a_replica_has_its_ranks_and_tells_how_long_it_took(server: LiveServer) -> None:
    assert len(ranks(server)) == NUM_RANKS
    assert f"{NUM_RANKS} ranks, cpu" in server.output()
    assert stream(server, body(1, 8)).finish_reasons == ("length",)
    metrics = httpx.get(f"{server.url}/metrics").text
    for phase in ("placement", "load", "warm-up"):
        assert f'llama4coder_startup_seconds{{phase="{phase}"' in metrics


def test_no_rank_leaves_its_channel_in_a_folder(server: LiveServer) -> None:
    folders = {Path(os.readlink(f"/proc/{rank.pid}/cwd")) for rank in ranks(server)}
    assert folders
    inherited = Path(f"/proc/{next(iter(ranks(server))).pid}/environ").read_bytes().split(b"\0")
    (temporary,) = [Path(line[7:].decode()) for line in inherited if line.startswith(b"TMPDIR=")]
    assert list(temporary.glob("rank-*")) == []


def test_answers_are_the_same_when_a_rank_is_killed(server: LiveServer) -> None:
    kill_under_streams(server, num_streams=6, max_tokens=300, chance=random.Random(0))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_kills_under_sixteen_streams(server: LiveServer) -> None:
    chance = random.Random(1)
    seconds = sorted(kill_under_streams(server, NUM_STREAMS, 300, chance) for _ in range(20))
    _log.info("16 streams with a kill took %.1f s (median), %.1f s (worst)", seconds[10], seconds[-1])
