"""Replicas that come and go with the load, on a real local Serve: what clients see of it."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.processes import Process
from tests.support.live_server import LiveServer, live_server
from tests.support.streams import Answer, stream, tiny_request
from tests.support.watching import processes_named, until

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1500)]

NUM_CLIENTS = 16
NUM_KINDS = 8  # of requests, by their prompts and seeds
MAX_TOKENS = 1000
TIMEOUT_S = 240.0
STEADY_S = 45.0
DOWN_DELAY_S = 12.0


@pytest.fixture(scope="module")
def server(tiny_args: dict[str, Any]) -> Iterator[LiveServer]:
    draft = {"path": tiny_args["model"]["path"], "dtype": "float32", "num_threads": 1, "kv_memory_bytes": 64 * 2**20}
    by_streams_alone = {"prefill_share": 1.0, "ttft_s": 60.0, "backlog_s": 60.0}  # however busy this machine is
    overrides = {
        "scaling": by_streams_alone
        | {"max_replicas": 3, "streams_per_replica": 4, "up_delay_s": 2.0, "down_delay_s": DOWN_DELAY_S},
        "speculation": {
            "method": "pool",
            "draft": draft | {"max_forks": 0},
            "pool": {"min_replicas": 0, "max_replicas": 1},
        },
    }
    with live_server(tiny_args | overrides) as server:
        yield server


@pytest.fixture(scope="module")
def expected(server: LiveServer) -> list[Answer]:
    """What each kind of request gets from one replica that does nothing else."""
    return [stream(server, tiny_request(kind, MAX_TOKENS)) for kind in range(NUM_KINDS)]


class Clients:
    """Each streams one answer after the other until it is told to leave; all answers are kept."""

    def __init__(self, server: LiveServer) -> None:
        self._server = server
        self._pool = ThreadPoolExecutor(NUM_CLIENTS)
        self._leave: list[threading.Event] = []
        self._clients: list[Future[list[tuple[int, Answer]]]] = []

    def add(self, num: int) -> None:
        for _ in range(num):
            self._leave.append(threading.Event())
            self._clients.append(self._pool.submit(self._ask, len(self._clients), self._leave[-1]))

    def keep(self, num: int) -> None:
        """The others go when their streams have ended."""
        for leave in self._leave[num:]:
            leave.set()

    def go(self) -> list[tuple[int, Answer]]:
        """All go; what was asked, and answered."""
        self.keep(0)
        answers = [answer for client in self._clients for answer in client.result()]
        self._pool.shutdown()
        return answers

    def _ask(self, number: int, leave: threading.Event) -> list[tuple[int, Answer]]:
        answers = []
        while not leave.is_set():
            kind = (number + len(answers)) % NUM_KINDS
            answers.append((kind, stream(self._server, tiny_request(kind, MAX_TOKENS))))
        return answers


def targets(server: LiveServer) -> set[Process]:
    return processes_named(server.process.pid, b"TargetReplica")


def drafts(server: LiveServer) -> set[Process]:
    return processes_named(server.process.pid, b"DraftReplica")


def metric(server: LiveServer, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(httpx.get(f"{server.url}/metrics", timeout=30).text)
    samples = [sample for family in families for sample in family.samples if sample.name == f"llama4coder_{name}"]
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def steady(server: LiveServer) -> list[set[Process]]:
    """The target replicas, again and again for a while."""
    seen = []
    deadline_s = time.monotonic() + STEADY_S
    while time.monotonic() < deadline_s:
        seen.append(targets(server))
        time.sleep(1.0)
    return seen


def test_replicas_follow_the_load_and_no_request_notices(server: LiveServer, expected: list[Answer]) -> None:
    until(lambda: len(targets(server)) == 1, TIMEOUT_S)
    clients = Clients(server)
    clients.add(8)
    until(lambda: len(targets(server)) == 2, TIMEOUT_S)
    clients.add(8)
    until(lambda: len(targets(server)) == 3, TIMEOUT_S)
    until(lambda: metric(server, "running_replicas", pool="target") == 3, TIMEOUT_S)
    assert metric(server, "wanted_replicas", pool="target") == 3
    assert metric(server, "scaling_reason", pool="target", reason="streams") == 1
    time.sleep(DOWN_DELAY_S)  # until the last one has started, and takes its share
    seen = steady(server)
    clients.keep(4)
    until(lambda: len(targets(server)) < 3, TIMEOUT_S)  # under streams
    answers = clients.go()
    until(lambda: len(targets(server)) == 1, TIMEOUT_S)
    assert len(answers) > 2 * NUM_KINDS
    assert [answer for kind, answer in answers] == [expected[kind] for kind, _ in answers]
    assert all(len(replicas) == 3 for replicas in seen)
    assert all(replicas == seen[0] for replicas in seen)


def test_the_pool_comes_when_there_is_something_to_draft_and_goes_afterwards(
    server: LiveServer, expected: list[Answer]
) -> None:
    until(lambda: not drafts(server), TIMEOUT_S)
    old = until_one_target(server)
    clients = Clients(server)
    clients.add(1)
    until(lambda: len(drafts(server)) == 1, TIMEOUT_S)
    assert targets(server) == old
    answers = clients.go()
    until(lambda: not drafts(server), TIMEOUT_S)
    assert targets(server) == old
    assert [answer for kind, answer in answers] == [expected[kind] for kind, _ in answers]


def until_one_target(server: LiveServer) -> set[Process]:
    until(lambda: len(targets(server)) == 1, TIMEOUT_S)
    return targets(server)
