"""A replica of several ranks on a real local Ray, and what its clients see when a rank is killed or frozen.

How long their streams pause is told with `pytest --log-cli-level=INFO`.
"""

import logging
import os
import random
import signal
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.processes import Process, descendants
from tests.support.live_server import LiveServer, live_server
from tests.support.models import write_tiny_llama
from tests.support.streams import stream, tiny_request
from tests.support.watching import RANK, processes_named, running, until

pytestmark = pytest.mark.cluster

NUM_RANKS = 2
NUM_STREAMS = 16
MAX_TOKENS = 300

_log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    write_tiny_llama(folder, tokenizer=True, max_position_embeddings=4096)
    engine = {"kv_memory_bytes": 64 * 2**20, "ranks": NUM_RANKS, "num_threads": 1, "step_timeout_s": 600}
    with live_server({"model": {"path": str(folder), "dtype": "float32"}, "engine": engine}) as server:
        yield server


def ranks(server: LiveServer) -> list[Process]:
    return sorted(processes_named(server.process.pid, RANK), key=lambda process: process.pid)


def used_blocks(server: LiveServer) -> float:
    """Of the replica that lives; a moment after another's death there may be none to ask."""
    families = text_string_to_metric_families(httpx.get(f"{server.url}/metrics").text)
    samples = [sample for family in families if family.name == "llama4coder_kv_blocks" for sample in family.samples]
    return sum(sample.value for sample in samples if sample.labels["state"] == "used")


def is_ready(server: LiveServer) -> bool:
    return httpx.get(f"{server.url}/ready", timeout=30).status_code == 200


def lose_a_rank_under_streams(
    server: LiveServer, num_streams: int, loss: signal.Signals, chance: random.Random
) -> float:
    """Signal a rank at some moment of so many streams, and compare them with undisturbed ones; returns the longest
    pause that one of them made."""
    requests = [tiny_request(number, MAX_TOKENS) for number in range(num_streams)]
    with ThreadPoolExecutor(num_streams) as pool:
        expected = list(pool.map(lambda request: stream(server, request), requests))
        old = ranks(server)
        assert len(old) == NUM_RANKS
        streams = [pool.submit(stream, server, request) for request in requests]
        time.sleep(chance.uniform(0.05, 1.0))
        os.kill(chance.choice(old).pid, loss)
        answers = [future.result() for future in streams]
    assert answers == expected
    assert all(answer.finish_reasons == ("length",) and answer.num_output_tokens == MAX_TOKENS for answer in answers)
    check_replaced(server, old)
    return max(answer.longest_pause_s for answer in answers)


def check_replaced(server: LiveServer, old: list[Process]) -> None:
    until(lambda: is_ready(server), 60)
    until(lambda: not any(process.is_running() for process in old), 20)
    assert len(ranks(server)) == NUM_RANKS
    until(lambda: used_blocks(server) == 0, 20)


def test_a_replica_has_its_ranks_and_tells_how_long_it_took(server: LiveServer) -> None:
    assert len(ranks(server)) == NUM_RANKS
    assert f"{NUM_RANKS} ranks, cpu" in server.output()
    assert stream(server, tiny_request(1, 8)).finish_reasons == ("length",)
    metrics = httpx.get(f"{server.url}/metrics").text
    for phase in ("placement", "load", "memory", "warm-up"):
        assert f'llama4coder_startup_seconds{{phase="{phase}"' in metrics
    for kind in ("predicted", "actual"):
        assert f'llama4coder_memory_bytes{{kind="{kind}",part="kv"' in metrics


def test_no_rank_leaves_its_channel_in_a_folder(server: LiveServer) -> None:
    inherited = Path(f"/proc/{ranks(server)[0].pid}/environ").read_bytes().split(b"\0")
    (temporary,) = [Path(line[7:].decode()) for line in inherited if line.startswith(b"TMPDIR=")]
    assert temporary.exists() and list(temporary.glob("ranks-*")) == []


@pytest.mark.parametrize("loss", [signal.SIGKILL, signal.SIGSTOP], ids=str)
def test_answers_are_the_same_when_a_rank_is_lost(server: LiveServer, loss: signal.Signals) -> None:
    lose_a_rank_under_streams(server, 6, loss, random.Random(0))


def test_an_idle_replica_is_replaced_when_a_rank_is_frozen(server: LiveServer) -> None:
    old = ranks(server)
    os.kill(old[1].pid, signal.SIGSTOP)
    until(lambda: not any(process.is_running() for process in old), 60)
    until(lambda: len(ranks(server)) == NUM_RANKS, 60)
    check_replaced(server, old)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("loss", "times"), [(signal.SIGKILL, 20), (signal.SIGSTOP, 3)], ids=str)
def test_losses_under_sixteen_streams(
    server: LiveServer, loss: signal.Signals, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "httpx")  # it tells of every request
    chance = random.Random(1)
    pauses_s = sorted(lose_a_rank_under_streams(server, NUM_STREAMS, loss, chance) for _ in range(times))
    _log.info(
        "%d x %s under %d streams: they paused for %.1f s (median) and %.1f s (worst)",
        *(times, loss.name, NUM_STREAMS, statistics.median(pauses_s), pauses_s[-1]),
    )


def test_a_killed_command_takes_everything_with_it(server: LiveServer) -> None:
    """The last test with this server."""
    processes = descendants({server.process.pid})
    assert len(processes) > 5
    server.process.kill()
    server.process.wait()
    until(lambda: running(processes) == set(), 10)
