"""What clients see when a replica hands its requests over before it stops, without Ray."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.backend import ClusterBackend, Recovery
from cluster.channel.endpoint import Endpoint
from cluster.channel.token_receiver import TokenReceiver
from cluster.errors import Moved
from cluster.generation import GenerationOutcome, Refusal
from llama4coder.errors import DeadlineExceeded, Replaced
from llama4coder.obs.declared.drain import MigrationOutcome
from llama4coder.router.messages import Report
from llama4coder.types import Fingerprint, GenerateRequest
from tests.support.backend_contract import make_request, run, tokens_of
from tests.support.local_cluster import FakePusher, FakeResponse, Replica, routing_over, running_replica
from tests.support.replicas import report

NEW = Fingerprint("", "new")  # of the same model


class Marked:
    """Replicas by name and fingerprint, which refuse what wants another one; None is a name for the last."""

    def __init__(self, replicas: Mapping[str, Replica], fingerprints: Mapping[str, Fingerprint]) -> None:
        self._replicas = replicas
        self._fingerprints = fingerprints
        self.asked: list[tuple[str | None, Fingerprint]] = []
        self.generate = self

    def remote(
        self, request: GenerateRequest, ingress: Endpoint, wanted: Fingerprint, replica: str | None = None
    ) -> FakeResponse:
        self.asked.append((replica, wanted))
        name = replica or list(self._replicas)[-1]
        return FakeResponse(asyncio.create_task(self._answer(name, request, ingress, wanted)))

    async def _answer(
        self, name: str, request: GenerateRequest, ingress: Endpoint, wanted: Fingerprint
    ) -> GenerationOutcome | Refusal:
        if wanted != self._fingerprints[name]:
            return Refusal(Replaced("other"))
        return await self._replicas[name].service.generate(request, ingress)


class Setting:
    def __init__(self, replicas: Marked, receiver: TokenReceiver, *reports: Report) -> None:
        self.migrated: list[MigrationOutcome] = []
        self.recovered: list[int] = []
        handle: Any = replicas
        pusher: Any = FakePusher()
        recovery = Recovery(5.0, lambda: self.recovered.append(1), self.migrated.append)
        self.backend = ClusterBackend(handle, receiver, pusher, routing_over(*reports), recovery)


async def hand_over_when_running(replica: Replica, count: int) -> None:
    while replica.thread.stats().num_running < count:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    replica.service.hand_over()


async def test_requests_go_on_elsewhere_token_by_token(
    checkpoint: Path, tmp_path: Path, one_thread: None, receiver: TokenReceiver
) -> None:
    async with running_replica(checkpoint, tmp_path, "a") as old, running_replica(checkpoint, tmp_path, "b") as new:
        replicas = Marked({"a": old, "b": new}, {"a": Fingerprint(), "b": Fingerprint()})
        setting = Setting(replicas, receiver, report("a"), report("b", num_running=30))
        wanted = [replace(make_request(str(number), 200), seed=number) for number in range(4)]
        quiet = [await run(setting.backend, replace(request, request_id=f"q{request.seed}")) for request in wanted]
        *results, _ = await asyncio.gather(
            *(run(setting.backend, request) for request in wanted), hand_over_when_running(old, 4)
        )
        assert [tokens_of(events) for events in results] == [tokens_of(events) for events in quiet]  # type: ignore[arg-type]
        assert setting.migrated == [MigrationOutcome.CONTINUED] * 4
        assert setting.recovered == [], "nothing was lost"
        assert old.thread.stats().num_used_blocks == 0
        assert isinstance((await old.service.generate(make_request("late"), receiver.endpoint)).error, Moved)  # type: ignore[union-attr]


async def test_nobody_goes_on_with_other_numerics(
    checkpoint: Path, tmp_path: Path, one_thread: None, receiver: TokenReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llama4coder.router.continuation._MAX_PAUSE_S", 0.05)
    async with running_replica(checkpoint, tmp_path, "a") as old, running_replica(checkpoint, tmp_path, "b") as new:
        replicas = Marked({"a": old, "b": new}, {"a": Fingerprint(), "b": NEW})
        marked = replace(report("b", num_running=30), fingerprint=NEW)
        setting = Setting(replicas, receiver, report("a"), marked)
        running = asyncio.create_task(run(setting.backend, make_request("x", 400)))
        await hand_over_when_running(old, 1)
        with pytest.raises(Replaced):
            await running
        assert setting.migrated == [MigrationOutcome.FAILED]
        assert replicas.asked[0] == ("a", Fingerprint())
        assert {wanted for _, wanted in replicas.asked} == {Fingerprint()}, "it is never asked of what began otherwise"
        assert len(tokens_of(await run(setting.backend, make_request("y")))) == 6
        assert replicas.asked[-1] == ("b", NEW), "a new request begins there"


async def test_an_ingress_that_must_end_says_so(
    checkpoint: Path, tmp_path: Path, one_thread: None, receiver: TokenReceiver
) -> None:
    async with running_replica(checkpoint, tmp_path, "a") as replica:
        setting = Setting(Marked({"a": replica}, {"a": Fingerprint()}), receiver, report("a"))
        running = asyncio.create_task(run(setting.backend, make_request("x", 400)))
        while replica.thread.stats().num_running < 1:
            await asyncio.sleep(0.001)
        receiver.fail(DeadlineExceeded("the time is over"))
        with pytest.raises(DeadlineExceeded, match="the time is over"):
            await running
