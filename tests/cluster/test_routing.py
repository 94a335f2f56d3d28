"""The router at work in an ingress."""

import asyncio
import time
from collections.abc import Collection, Sequence
from typing import Any

import pytest
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import DeploymentUnavailableError

from cluster import replica_directory
from cluster.channel.endpoint import Endpoint
from cluster.replica_directory import ReplicaDirectory
from cluster.routing import Routing
from llama4coder.obs.routing import RouteReason
from llama4coder.router.kv_aware import KVAware
from llama4coder.router.router import Router
from llama4coder.types import TokenEvent
from tests.support.replicas import BLOCK_SIZE, prompt_of, report, request

NOBODY = frozenset[str]()


class Watcher:
    """A `RoutingObserver` that remembers."""

    def __init__(self) -> None:
        self.routes: list[tuple[RouteReason, int]] = []
        self.prefixes: list[int] = []
        self.ages_s: list[float] = []

    def on_route(self, reason: RouteReason, num_cached_tokens: int, overhead_s: float, report_age_s: float) -> None:
        assert 0 < overhead_s < 10
        self.ages_s.append(report_age_s)
        self.routes.append((reason, num_cached_tokens))

    def on_prefix(self, num_cached_tokens: int) -> None:
        self.prefixes.append(num_cached_tokens)


def test_decisions_and_what_came_of_them_are_observed() -> None:
    watcher = Watcher()
    routing = Routing(Router(KVAware(), BLOCK_SIZE), watcher)
    assert routing.choose(request("1", [1]), NOBODY).replica is None
    routing.receive(report("a"))
    routing.receive(report("b", cached=prompt_of(1, 320), num_running=1))
    assert routing.choose(request("2", prompt_of(1, 320)), NOBODY).replica == "b"
    routing.begun(TokenEvent("2", 0, (5,), num_cached_tokens=304))
    routing.ended("2")
    assert routing.has_room_beside("b", request("3", [1]))
    routing.lost("a")
    assert not routing.has_room_beside("b", request("3", [1]))
    assert routing.choose(request("3", prompt_of(1, 320)), NOBODY).replica == "b"
    assert watcher.routes == [(RouteReason.UNKNOWN, 0), (RouteReason.PREFIX, 320), (RouteReason.ONLY, 320)]
    assert watcher.prefixes == [304]
    assert all(0 <= age_s < 10 for age_s in watcher.ages_s)


def test_a_silent_replica_is_told_of_though_it_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = Watcher()
    routing = Routing(Router(KVAware(), BLOCK_SIZE), watcher)
    routing.receive(report("a"))
    later_s = time.monotonic() + 30
    monkeypatch.setattr("cluster.routing.time.monotonic", lambda: later_s)
    assert routing.choose(request("1", [1]), NOBODY).replica is None
    assert watcher.routes == [(RouteReason.UNKNOWN, 0)]
    assert watcher.ages_s == [pytest.approx(30, abs=5)]


class FakeTarget:
    """A deployment handle whose replicas answer in turn as they are told to."""

    def __init__(self, answers: Sequence[Any]) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, Endpoint]] = []

    def broadcast(self, method: str, endpoint: Endpoint) -> "FakeTarget":
        self.asked.append((method, endpoint))
        return self

    async def results_async(self, timeout_s: float, return_exceptions: bool) -> list[Any]:
        assert return_exceptions
        if not self._answers:
            await asyncio.Event().wait()
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return list(answer)


async def test_directory_follows_the_replicas(monkeypatch: Any) -> None:
    monkeypatch.setattr(replica_directory, "_PERIOD_S", 0.0)
    known: list[Collection[str]] = []
    gone = DeploymentUnavailableError.__new__(DeploymentUnavailableError)
    target: Any = FakeTarget([["a", "b"], ["a", ActorDiedError()], TimeoutError(), gone, ["c"]])
    endpoint = Endpoint("tcp://127.0.0.1:1", b"key")
    directory = ReplicaDirectory(target, endpoint, known.append)
    async with asyncio.timeout(5):
        while len(target.asked) < 6:
            await asyncio.sleep(0.001)
    await directory.stop()
    assert known == [["a", "b"], ["a"], [], ["c"]]
    assert set(target.asked) == {("report_to", endpoint)}
