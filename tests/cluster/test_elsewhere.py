"""Requests that one replica refuses or loses while another could take them; without Ray."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster.backend import ClusterBackend
from cluster.channel.endpoint import Endpoint
from cluster.channel.token_receiver import TokenReceiver
from cluster.generation import Refusal
from llama4coder.errors import EngineDead, Overloaded
from llama4coder.router.messages import Report
from llama4coder.types import Fingerprint, GenerateRequest
from tests.support.backend_contract import make_request, run, tokens_of
from tests.support.local_cluster import FakePusher, FakeResponse, recovery_within, routing_over, running_replica
from tests.support.replicas import report


class Named:
    """Replicas by name: each does what it is told, and keeps who asked."""

    def __init__(self, replicas: Mapping[str | None, Any]) -> None:
        self._replicas = replicas
        self.asked: list[str | None] = []
        self.generate = self
        self.probe = self

    def remote(
        self, request: GenerateRequest, ingress: Endpoint, wanted: Fingerprint, replica: str | None = None
    ) -> FakeResponse:
        self.asked.append(replica)
        return FakeResponse(asyncio.create_task(self._replicas[replica].generate(request, ingress)))


class Full:
    """Refuses whatever comes."""

    async def generate(self, request: GenerateRequest, ingress: Endpoint) -> Refusal:
        return Refusal(Overloaded("the queue is full", 1.0))


class Lost:
    """Dies of whatever comes."""

    async def generate(self, request: GenerateRequest, ingress: Endpoint) -> Refusal:
        raise EngineDead("the reason")


def backend_of(replicas: Named, receiver: TokenReceiver, *reports: Report) -> ClusterBackend:
    handle: Any = replicas
    pusher: Any = FakePusher()
    return ClusterBackend(handle, receiver, pusher, routing_over(*reports), recovery_within(5.0))


class TestElsewhere:
    async def test_a_refused_request_goes_where_there_is_room(
        self, checkpoint: Path, tmp_path: Path, one_thread: None, receiver: TokenReceiver
    ) -> None:
        async with running_replica(checkpoint, tmp_path, "r") as replica:
            replicas = Named({"full": Full(), "roomy": replica.service})
            backend = backend_of(replicas, receiver, report("full"), report("roomy", num_running=3))
            assert len(tokens_of(await run(backend, make_request("a")))) == 6
            assert replicas.asked == ["full", "roomy"]

    async def test_once_only(self, receiver: TokenReceiver) -> None:
        replicas = Named(dict.fromkeys("abc", Full()))
        with pytest.raises(Overloaded):
            await run(backend_of(replicas, receiver, *map(report, "abc")), make_request("a"))
        assert len(replicas.asked) == len(set(replicas.asked)) == 2

    async def test_not_where_there_is_no_room_either(self, receiver: TokenReceiver) -> None:
        replicas = Named(dict.fromkeys("ab", Full()))
        with pytest.raises(Overloaded):
            await run(backend_of(replicas, receiver, report("a"), report("b", num_free_places=0)), make_request("a"))
        assert replicas.asked == ["a"]

    async def test_not_when_nothing_is_known(self, receiver: TokenReceiver) -> None:
        replicas = Named({None: Full()})
        with pytest.raises(Overloaded):
            await run(backend_of(replicas, receiver), make_request("a"))
        assert replicas.asked == [None]

    async def test_a_lost_request_avoids_the_replica_that_lost_it(
        self, checkpoint: Path, tmp_path: Path, one_thread: None, receiver: TokenReceiver
    ) -> None:
        async with running_replica(checkpoint, tmp_path, "r") as replica:
            replicas = Named({"lost": Lost(), "alive": replica.service})
            backend = backend_of(replicas, receiver, report("lost"), report("alive", num_running=9))
            for name in ("a", "b"):
                assert len(tokens_of(await run(backend, make_request(name)))) == 6
            assert replicas.asked == ["lost", "alive", "alive"], "what one request has learned, the next one knows"
