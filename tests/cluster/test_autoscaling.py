"""Replicas that come and go with the load, on a real local Serve: what clients see of it."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from cluster.processes import Process
from tests.support.live_server import LiveServer, live_server
from tests.support.streams import Answer, stream, tiny_request
from tests.support.watching import processes_named, until

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1500)]

NUM_KINDS = 8  # of requests, by their prompts and seeds
MAX_TOKENS = 1000
TIMEOUT_S = 240.0
STEADY_S = 45.0
DOWN_DELAY_S = 12.0


@pytest.fixture(scope="module")
def server(tiny_args: dict[str, Any]) -> Iterator[LiveServer]:
    draft = {"path": tiny_args["model"]["path"], "dtype": "float32", "num_threads": 1, "kv_memory_bytes": 64 * 2**20}
    overrides = {
        "scaling": {"max_replicas": 3, "streams_per_replica": 4, "up_delay_s": 2.0, "down_delay_s": DOWN_DELAY_S},
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
    """So many streams at once, one after the other, until they are told to leave; all answers are kept."""

    def __init__(self, server: LiveServer) -> None:
        self._server = server
        self._pool = ThreadPoolExecutor(16)
        self._leave = threading.Event()
        self._clients: list[Future[list[tuple[int, Answer]]]] = []

    def add(self, num: int) -> None:
        first = len(self._clients)
        self._clients += [self._pool.submit(self._ask, number) for number in range(first, first + num)]

    def leave(self) -> list[tuple[int, Answer]]:
        """Each finishes its stream; what was asked, and answered."""
        self._leave.set()
        answers = [answer for client in self._clients for answer in client.result()]
        self._pool.shutdown()
        return answers

    def _ask(self, number: int) -> list[tuple[int, Answer]]:
        answers = []
        while not self._leave.is_set():
            kind = (number + len(answers)) % NUM_KINDS
            answers.append((kind, stream(self._server, tiny_request(kind, MAX_TOKENS))))
        return answers


def targets(server: LiveServer) -> set[Process]:
    return processes_named(server.process.pid, b"TargetReplica")


def drafts(server: LiveServer) -> set[Process]:
    return processes_named(server.process.pid, b"DraftReplica")


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
    time.sleep(DOWN_DELAY_S)  # until the last one has started, and takes its share
    seen = steady(server)
    answers = clients.leave()
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
    answers = clients.leave()
    until(lambda: not drafts(server), TIMEOUT_S)
    assert targets(server) == old
    assert [answer for kind, answer in answers] == [expected[kind] for kind, _ in answers]


def until_one_target(server: LiveServer) -> set[Process]:
    until(lambda: len(targets(server)) == 1, TIMEOUT_S)
    return targets(server)
