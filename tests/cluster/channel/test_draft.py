"""The draft channel over real sockets: threads, processes, and what happens when one side goes."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import zmq

from cluster.channel.draft_client import PoolProposer
from cluster.channel.draft_frames import decode_answer, encode_news
from cluster.channel.draft_link import Links, ZmqLinks
from cluster.channel.draft_server import DraftServer
from cluster.channel.endpoint import Endpoint, bind_encrypted, bind_private, connect
from llama4coder.errors import EngineDead
from llama4coder.obs.pool import NullPoolObserver
from llama4coder.spec.forecast import Drafter, Forecast
from llama4coder.spec.pool_client import PoolClient, PoolLimits
from llama4coder.spec.pool_host import PoolHost
from llama4coder.spec.pool_messages import News
from tests.support.known_sequences import KnownSequences, token_at
from tests.support.oracle_drafter import OracleDrafter
from tests.support.unreliable import BAD, UnreliableLinks

MAX_DRAFT_TOKENS = 4

Bind = Callable[["zmq.Socket[Any]"], Endpoint]
StartServer = Callable[[Drafter], DraftServer]


def bind_here(socket: "zmq.Socket[Any]") -> Endpoint:
    return bind_encrypted(socket, "127.0.0.1")


def server_of(drafter: Drafter, bind: Bind = bind_here) -> DraftServer:
    return DraftServer(PoolHost(drafter, session_timeout_s=60.0), bind, NullPoolObserver())


@pytest.fixture
def start() -> Iterator[Callable[[DraftServer], Endpoint]]:
    """Starts servers that are ended with the test."""
    servers: list[DraftServer] = []

    def start(server: DraftServer) -> Endpoint:
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.stop()
        server.join()
    assert "draft-server" not in {thread.name for thread in threading.enumerate()}


class Target:
    """One target that steps by itself; `replicas` may change at any time."""

    def __init__(self, name: str, replicas: dict[str, Endpoint], links: Links | None = None) -> None:
        self.replicas = replicas
        observer = NullPoolObserver()
        client = PoolClient(name, PoolLimits(silence_timeout_s=5.0, max_context_tokens=100), observer)
        self.proposer = PoolProposer(client, lambda: self.replicas, links or ZmqLinks(), observer)
        self._sequences = KnownSequences()

    def begin(self, number: int) -> None:
        for seed in range(number):
            self.proposer.begin(self._sequences.begin(f"r{seed}", seed, 10))

    def step(self) -> bool:
        """Returns whether there was a draft for every request; each draft must be right."""
        time.sleep(0.005)
        drafts = self.proposer.propose(self._sequences.queries(MAX_DRAFT_TOKENS))
        outcomes = self._sequences.step(drafts)
        assert all(outcome.num_accepted == outcome.num_drafted for outcome in outcomes)
        self.proposer.observe(outcomes)
        return all(outcome.num_drafted for outcome in outcomes)


@pytest.fixture
def target_of() -> Iterator[Callable[..., Target]]:
    targets: list[Target] = []

    def make(*args: Any) -> Target:
        targets.append(Target(*args))
        return targets[-1]

    yield make
    for target in targets:
        target.proposer.close()


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come to pass"


def test_several_targets_are_drafted_by_several_replicas(start: Any, target_of: Any) -> None:
    drafters = [OracleDrafter(token_at) for _ in range(2)]
    replicas = {f"replica-{index}": start(server_of(drafter)) for index, drafter in enumerate(drafters)}
    targets = [target_of(name, replicas) for name in ("one", "two", "three")]
    for target in targets:
        target.begin(4)
    for target in targets:
        until(target.step)
    assert all(0 < len(drafter.sessions) < 12 for drafter in drafters)


def test_drafts_are_right_when_frames_are_lost_repeated_and_late(start: Any, target_of: Any) -> None:
    replicas = {f"replica-{index}": start(server_of(OracleDrafter(token_at))) for index in range(2)}
    target = target_of("one", replicas, UnreliableLinks(ZmqLinks(), BAD))
    target.begin(4)
    for _ in range(100):
        target.step()
    until(target.step)


def test_replicas_come_and_go_under_a_target(start: Any, target_of: Any) -> None:
    target = target_of("one", {})
    target.begin(3)
    assert not target.step()
    for name in ("first", "second"):
        server = server_of(OracleDrafter(token_at))
        target.replicas = {name: start(server)}
        until(target.step)
        server.stop()
        server.join()
    target.replicas = {}
    for _ in range(3):
        target.step()
    assert not target.step()


def test_a_replica_that_drains_loses_its_sequences_at_once(start: Any, target_of: Any) -> None:
    leaving, staying = server_of(OracleDrafter(token_at)), OracleDrafter(token_at)
    replicas = {"leaving": start(leaving), "staying": start(server_of(staying))}
    target = target_of("one", replicas)
    target.begin(4)
    until(target.step)
    assert len(staying.sessions) == 2
    leaving.drain()
    until(lambda: target.step() and len(staying.sessions) == 4)


def test_damaged_and_foreign_frames_are_ignored(start: Any, target_of: Any) -> None:
    ignored: list[int] = []

    class Counting(NullPoolObserver):
        def on_draft_frame_ignored(self) -> None:
            ignored.append(1)

    server = DraftServer(PoolHost(OracleDrafter(token_at), 60.0), bind_here, Counting())
    endpoint = start(server)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context.socket(zmq.DEALER) as socket:
        connect(socket, endpoint)
        socket.send(b"\xc1")
        socket.send_multipart([encode_news(News("two", 1)), b"more"])
        socket.send(encode_news(News("two", 1)))
        assert socket.poll(20_000)
        assert decode_answer(socket.recv()).number == 1
    context.term()
    assert len(ignored) == 2
    target = target_of("one", {"a": endpoint})
    target.begin(1)
    until(target.step)


def test_a_peer_without_the_key_reaches_nobody(start: Any, target_of: Any) -> None:
    drafter = OracleDrafter(token_at)
    endpoint = start(server_of(drafter))
    wrong_key, _ = zmq.curve_keypair()
    for name, key in (("open", None), ("wrong", wrong_key)):
        target = target_of(name, {"a": Endpoint(endpoint.address, key)})
        target.begin(1)
        for _ in range(40):
            assert not target.step()
    assert drafter.sessions == {}


def test_a_drafter_that_fails_ends_its_replica_and_harms_no_target(start: Any, target_of: Any) -> None:
    class Broken(OracleDrafter):
        def forecast(self) -> Sequence[Forecast]:
            if self.sessions:
                raise ArithmeticError("secret")
            return []

    server = server_of(Broken(token_at))
    target = target_of("one", {"a": start(server)})
    server.check()
    target.begin(2)
    server.join()
    with pytest.raises(EngineDead, match="ArithmeticError") as error:
        server.check()
    assert "secret" not in str(error.value)
    for _ in range(5):
        assert not target.step()


def test_an_unbindable_channel_says_so(tmp_path: Path) -> None:
    server = server_of(OracleDrafter(token_at), lambda socket: bind_private(socket, tmp_path / "missing", "d.sock"))
    with pytest.raises(EngineDead, match="ZMQError"):
        server.start()


def test_a_link_that_nobody_reads_drops_what_it_is_given() -> None:
    """Otherwise this would never end."""
    server = server_of(OracleDrafter(token_at))
    endpoint = server.start()
    server.stop()
    server.join()
    links = ZmqLinks()
    link = links.connect(endpoint)
    for _ in range(1000):
        link.send(bytes(1000))
    assert link.receive() == []
    link.close()
    links.close()


def serve(pipe: "Connection[Endpoint, None]") -> None:
    server = server_of(OracleDrafter(token_at))
    pipe.send(server.start())
    server.join()


@contextmanager
def replica_process() -> Iterator[tuple[Endpoint, int]]:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    try:
        assert ours.poll(60), "the replica is silent"
        assert process.pid is not None
        yield ours.recv(), process.pid
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize("loss", [signal.SIGSTOP, signal.SIGKILL])
def test_a_frozen_or_killed_replica_never_holds_up_its_target(loss: signal.Signals, target_of: Any) -> None:
    with replica_process() as (endpoint, pid):
        target = target_of("one", {"a": endpoint})
        target.begin(8)
        until(target.step)
        os.kill(pid, loss)
        for _ in range(100):
            target.step()
        assert not target.step()
        with replica_process() as (other, _):
            target.replicas = {"b": other}
            until(target.step)
