"""A target with a draft pool on a real local Ray: what clients see of it, whatever becomes of the pool."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.processes import Process
from tests.support.live_server import LiveServer, live_server
from tests.support.models import write_tiny_llama
from tests.support.streams import Answer, stream, tiny_request
from tests.support.watching import processes_named, until

pytestmark = pytest.mark.cluster

NUM_STREAMS = 16
NUM_REPLICAS = 2
MAX_TOKENS = 600
TIMEOUT_S = 120.0


@pytest.fixture(scope="module")
def args(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    write_tiny_llama(folder, tokenizer=True, max_position_embeddings=4096)
    return {
        "model": {"path": str(folder), "dtype": "float32"},
        "engine": {"kv_memory_bytes": 64 * 2**20, "num_threads": 1},
    }


@pytest.fixture(scope="module")
def server(args: dict[str, Any]) -> Iterator[LiveServer]:
    draft = {"path": args["model"]["path"], "dtype": "float32", "num_threads": 1, "kv_memory_bytes": 64 * 2**20}
    # Target and draft are one model here: only long guesses of one outcome are ahead of it when they arrive.
    pool = {"min_replicas": NUM_REPLICAS, "max_replicas": NUM_REPLICAS}
    speculation = {"method": "pool", "max_draft_tokens": 8, "draft": draft | {"max_forks": 0}, "pool": pool}
    with live_server(args | {"speculation": speculation}) as server:
        yield server


@pytest.fixture(scope="module")
def plain_answers(server: LiveServer) -> Sequence[Answer]:
    """Of requests that want no guesses."""
    answers = streams(server, speculation=False)
    assert metric(server, "draft_proposals_total") == 0
    return answers


def streams(server: LiveServer, **options: bool) -> list[Answer]:
    requests = [tiny_request(number, MAX_TOKENS) | options for number in range(NUM_STREAMS)]
    with ThreadPoolExecutor(NUM_STREAMS) as pool:
        return list(pool.map(lambda request: stream(server, request), requests))


def draft_replicas(server: LiveServer) -> set[Process]:
    return processes_named(server.process.pid, b"DraftReplica")


def metric(server: LiveServer, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    families = text_string_to_metric_families(httpx.get(f"{server.url}/metrics", timeout=30).text)
    samples = [sample for family in families for sample in family.samples if sample.name == f"llama4coder_{name}"]
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def accepted(server: LiveServer) -> float:
    return metric(server, "draft_accepted_tokens_total")


def stream_until_hit(server: LiveServer) -> None:
    """One stream after the other: on a busy machine the replica is late at first, and is left alone for a while."""
    before = metric(server, "pool_lookups_total", result="hit")

    def has_hit() -> bool:
        stream(server, tiny_request(1, MAX_TOKENS))
        return metric(server, "pool_lookups_total", result="hit") > before

    until(has_hit, TIMEOUT_S)


def test_answers_are_those_of_plain_decoding(server: LiveServer, plain_answers: Sequence[Answer]) -> None:
    until(lambda: metric(server, "pool_replicas") == NUM_REPLICAS, TIMEOUT_S)
    assert streams(server) == plain_answers


def test_the_pool_has_a_part_in_them(server: LiveServer) -> None:
    stream_until_hit(server)
    until(lambda: metric(server, "draft_proposals_total", source="pool") > 0, TIMEOUT_S)
    assert metric(server, "pool_round_trip_seconds_count") > 0
    assert metric(server, "pool_round_seconds_count") > 0


def kill_drafts(server: LiveServer) -> None:
    for process in draft_replicas(server):
        os.kill(process.pid, signal.SIGKILL)


def test_streams_do_not_notice_the_death_of_all_draft_replicas(
    server: LiveServer, plain_answers: Sequence[Answer]
) -> None:
    """The pool goes from two replicas to none and back to two."""
    old = draft_replicas(server)
    assert len(old) == NUM_REPLICAS
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(streams, server)
        time.sleep(0.5)
        kill_drafts(server)
        assert running.result() == plain_answers
    until(lambda: len(draft_replicas(server) - old) == NUM_REPLICAS, TIMEOUT_S)
    stream_until_hit(server)
