"""The whole road from handle call to token channel, with an engine and a rank server but without Ray."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.backend import ClusterBackend, Recovery
from cluster.channel.endpoint import Endpoint
from cluster.channel.token_receiver import TokenReceiver
from cluster.channel.token_sender import TokenSender
from cluster.generation import GenerationOutcome, GenerationService, Refusal
from llama4coder.errors import ContextTooLong, DeadlineExceeded, Overloaded, QueueTimeout, StreamLost, Unavailable
from llama4coder.types import FinishReason, GenerateRequest
from tests.support.backend_contract import BackendContract, Subject, make_request, run, tokens_of
from tests.support.local_cluster import (
    FakeHandle,
    FakePusher,
    Replica,
    recovery_within,
    routing_over,
    running_replica,
)


class TestClusterBackend(BackendContract):
    @pytest.fixture
    async def subject(self, checkpoint: Path, tmp_path: Path, one_thread: None) -> AsyncIterator[Subject]:
        receiver = TokenReceiver("127.0.0.1")
        async with running_replica(checkpoint, tmp_path, "r.sock") as replica:
            yield self.subject_over(replica, receiver)
        await receiver.close()

    def subject_over(self, replica: Replica, receiver: TokenReceiver) -> Subject:
        async def kill() -> None:
            replica.rank.broken = True

        handle: Any = FakeHandle(replica.service)
        pusher: Any = FakePusher()
        return Subject(
            backend=ClusterBackend(handle, receiver, pusher, routing_over(), recovery_within(1.0)),
            num_running=lambda: replica.thread.stats().num_running + replica.thread.stats().num_waiting,
            impossible=make_request("impossible", max_tokens=10_000),
            kill=kill,
        )

    async def test_refusal_arrives_with_its_numbers(self, subject: Subject) -> None:
        with pytest.raises(ContextTooLong) as refusal:
            await run(subject.backend, subject.impossible)
        assert refusal.value.context_length == 512

    async def test_full_queue_is_overloaded_not_unavailable(self, subject: Subject) -> None:
        requests = [make_request(str(index), max_tokens=400) for index in range(40)]
        tasks = [asyncio.create_task(run(subject.backend, request)) for request in requests]
        done, pending = await asyncio.wait(tasks, timeout=10, return_when=asyncio.FIRST_EXCEPTION)
        errors = [task.exception() for task in done]
        assert errors
        assert all(isinstance(error, Overloaded) for error in errors)
        for task in pending:
            task.cancel()
        await asyncio.wait(tasks)


class TwoReplicas:
    """What a router does: the first replica for every request until `down`, then the second, once there is one."""

    def __init__(self, first: GenerationService, second: GenerationService) -> None:
        self._first, self._second = first, second
        self.down = False
        self.requests: list[GenerateRequest] = []
        self.refusals: list[Refusal] = []

    async def generate(self, request: GenerateRequest, ingress: Endpoint) -> GenerationOutcome | Refusal:
        self.requests.append(request)
        service = self._second if self.down else self._first
        outcome = await service.generate(request, ingress)
        if isinstance(outcome, Refusal):
            self.refusals.append(outcome)
        return outcome

    async def probe(self, timeout_s: float) -> None:
        await self._first.probe(timeout_s)


async def test_a_lost_request_goes_on_at_another_replica(
    checkpoint: Path, tmp_path: Path, one_thread: None, receiver: TokenReceiver
) -> None:
    recovered: list[int] = []
    async with (
        running_replica(checkpoint, tmp_path, "a") as first,
        running_replica(checkpoint, tmp_path, "b") as second,
    ):
        replicas = TwoReplicas(first.service, second.service)
        handle: Any = FakeHandle(replicas)
        pusher: Any = FakePusher()
        backend = ClusterBackend(handle, receiver, pusher, routing_over(), Recovery(20.0, lambda: recovered.append(1)))
        wanted = [make_request(str(number), 64, num_logprobs=1, num_prompt_logprobs=0) for number in range(4)]
        wanted = [replace(request, seed=number) for number, request in enumerate(wanted)]
        expected = [
            await run(backend, replace(request, request_id=f"undisturbed-{request.seed}")) for request in wanted
        ]

        async def lose_the_first() -> None:
            while first.thread.stats().num_running < 4:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)
            first.rank.broken = True
            await asyncio.sleep(0.5)  # a router that has not heard of it yet
            replicas.down = True

        results = await asyncio.gather(*(run(backend, request) for request in wanted), lose_the_first())
        for events, undisturbed in zip(results[:4], expected, strict=True):
            assert tokens_of(events) == tokens_of(undisturbed)
            assert len({event.request_id for event in events}) == 1
            assert len([position for event in events for position in event.logprobs]) == 64
            assert [len(event.prompt_logprobs) for event in events] == [5] + [0] * (len(events) - 1)
            assert events[-1].finish_reason is FinishReason.LENGTH
        assert len(recovered) == 4
        assert any(request.output_token_ids for request in replicas.requests)
        assert second.thread.stats().num_used_blocks == 0


async def test_who_waits_too_long_at_one_replica_is_not_sent_to_another(
    checkpoint: Path, tmp_path: Path, one_thread: None, receiver: TokenReceiver
) -> None:
    async with running_replica(checkpoint, tmp_path, "a", max_sequences=1, queue_timeout_s=0.05) as replica:
        replicas = TwoReplicas(replica.service, replica.service)
        handle: Any = FakeHandle(replicas)
        pusher: Any = FakePusher()
        backend = ClusterBackend(handle, receiver, pusher, routing_over(), recovery_within(20.0))
        async with aclosing(backend.generate(make_request("long", max_tokens=500))) as events:
            await anext(events)
            with pytest.raises(QueueTimeout, match=r"within 0\.05 s") as caught:
                await run(backend, make_request("late"))
            assert caught.value.retry_after_s >= 1.0
        assert [request.request_id for request in replicas.requests] == ["long", "late"]
        assert [refusal.error for refusal in replicas.refusals] == [caught.value], (
            "an answer, no failure of the replica"
        )


class Scripted:
    """A replica that says one thing on the handle and nothing on the token channel."""

    def __init__(self, answer: GenerationOutcome | Exception | None) -> None:
        self._answer = answer
        self.cancelled = asyncio.Event()

    async def generate(self, request: GenerateRequest, ingress: Endpoint) -> GenerationOutcome:
        if isinstance(self._answer, Exception):
            raise self._answer
        if self._answer is None:
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()
        assert self._answer is not None
        return self._answer

    async def probe(self, timeout_s: float) -> None:
        await asyncio.sleep(60)


def backend_over(service: Scripted, receiver: TokenReceiver) -> ClusterBackend:
    handle: Any = FakeHandle(service)
    pusher: Any = FakePusher()
    return ClusterBackend(handle, receiver, pusher, routing_over(), recovery_within(1.0))


async def test_outcome_without_its_tokens_is_a_lost_stream(
    receiver: TokenReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.backend._LAST_TOKENS_TIMEOUT_S", 0.05)
    service = Scripted(GenerationOutcome(FinishReason.STOP, 3))
    with pytest.raises(StreamLost, match="not all of 3 tokens"):
        await run(backend_over(service, receiver), make_request("a"))


async def test_replica_that_vanishes_is_unavailable(receiver: TokenReceiver) -> None:
    from ray.exceptions import ActorDiedError

    with pytest.raises(Unavailable, match="ActorDiedError"):
        await run(backend_over(Scripted(ActorDiedError()), receiver), make_request("a"))


async def test_cancelled_reader_cancels_the_call(receiver: TokenReceiver) -> None:
    service = Scripted(None)
    reading = asyncio.create_task(run(backend_over(service, receiver), make_request("a")))
    await asyncio.sleep(0.05)
    reading.cancel()
    await asyncio.wait_for(service.cancelled.wait(), 5)


async def test_a_request_that_no_replica_takes_has_a_deadline(receiver: TokenReceiver) -> None:
    service = Scripted(None)
    handle: Any = FakeHandle(service)
    handle.generate.has_replicas.clear()
    pusher: Any = FakePusher()
    with pytest.raises(DeadlineExceeded, match=r"no replica took the request within 0\.2 s"):
        await run(ClusterBackend(handle, receiver, pusher, routing_over(), recovery_within(0.2)), make_request("a"))
    assert len(asyncio.all_tasks()) <= 2, "the call has been cancelled; left are this test and the receiver"


class Silent(Scripted):
    """A replica that has taken a request, and gives no token."""

    def __init__(self) -> None:
        super().__init__(None)
        self._sender = TokenSender()

    async def generate(self, request: GenerateRequest, ingress: Endpoint) -> GenerationOutcome:
        self._sender.sink(ingress).open(request.request_id)
        return await super().generate(request, ingress)

    def close(self) -> None:
        self._sender.close()


async def test_a_request_that_a_replica_has_taken_waits_its_turn(receiver: TokenReceiver) -> None:
    replica = Silent()
    handle: Any = FakeHandle(replica)
    pusher: Any = FakePusher()
    backend = ClusterBackend(handle, receiver, pusher, routing_over(), recovery_within(0.3))
    waiting = asyncio.create_task(run(backend, make_request("a")))
    await asyncio.sleep(0.8)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])
    replica.close()


async def test_probe_has_a_deadline(receiver: TokenReceiver) -> None:
    with pytest.raises(DeadlineExceeded):
        await backend_over(Scripted(None), receiver).probe(0.05)
