"""The token channel, both ends in this process."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

import pytest
import zmq

from cluster.channel import token_sender
from cluster.channel.endpoint import Endpoint, connect
from cluster.channel.token_receiver import TokenReceiver
from cluster.channel.token_sender import IngressSink, TokenSender
from llama4coder.errors import EngineDead, QueueTimeout, StreamLost
from llama4coder.types import FinishReason, PositionLogprobs, TokenEvent, TokenLogprob


@pytest.fixture
async def receiver() -> AsyncIterator[TokenReceiver]:
    receiver = TokenReceiver("127.0.0.1")
    yield receiver
    await receiver.close()


@pytest.fixture
async def sender() -> AsyncIterator[TokenSender]:
    sender = TokenSender()
    yield sender
    sender.close()


async def publish(sink: IngressSink, events: Sequence[TokenEvent]) -> None:
    """As the engine does: from another thread."""
    thread = threading.Thread(target=sink.publish, args=(events,))
    thread.start()
    await asyncio.to_thread(thread.join)


async def test_events_arrive_whole_and_in_order(receiver: TokenReceiver, sender: TokenSender) -> None:
    logprobs = (PositionLogprobs(TokenLogprob(7, -0.125), (TokenLogprob(8, -2.0),)),)
    events = [
        TokenEvent("a", 0, (7,), logprobs, num_cached_tokens=16, prompt_logprobs=(None, *logprobs)),
        TokenEvent("a", 1, (8, 9)),
        TokenEvent("a", 3, (), finish_reason=FinishReason.LENGTH),
    ]
    stream = receiver.open("a", 0)
    sink = sender.sink(receiver.endpoint)
    ending = sink.open("a")
    for event in events:
        await publish(sink, [event])
    assert [await stream.next_event() for _ in events] == events
    assert await ending == events[-1]


async def test_an_ingress_hears_that_a_replica_has_its_request(receiver: TokenReceiver, sender: TokenSender) -> None:
    stream = receiver.open("a", 3)
    sink = sender.sink(receiver.endpoint)
    assert not stream.taken.is_set()
    sink.open("a")
    await asyncio.wait_for(stream.taken.wait(), 5)
    await publish(sink, [TokenEvent("a", 3, (7,))])
    assert (await stream.next_event()).token_ids == (7,)


async def test_one_frame_serves_many_requests(receiver: TokenReceiver, sender: TokenSender) -> None:
    streams = {name: receiver.open(name, 0) for name in "abc"}
    await publish(sender.sink(receiver.endpoint), [TokenEvent(name, 0, (ord(name),)) for name in "abcd"])
    assert [(await stream.next_event()).token_ids for stream in streams.values()] == [(97,), (98,), (99,)]


@pytest.mark.parametrize("key", [None, b"2" * 40])
async def test_a_peer_without_the_key_reaches_nobody(
    receiver: TokenReceiver, sender: TokenSender, key: bytes | None
) -> None:
    stream = receiver.open("a", 0)
    stranger = sender.sink(Endpoint(receiver.endpoint.address, key))
    await publish(stranger, [TokenEvent("a", 0, (9,))])
    await asyncio.sleep(0.2)
    await publish(sender.sink(receiver.endpoint), [TokenEvent("a", 0, (7,))])
    assert (await stream.next_event()).token_ids == (7,)


async def test_hole_ends_the_stream(receiver: TokenReceiver, sender: TokenSender) -> None:
    stream = receiver.open("a", 0)
    await publish(sender.sink(receiver.endpoint), [TokenEvent("a", 0, (1,)), TokenEvent("a", 2, (3,))])
    assert (await stream.next_event()).token_ids == (1,)
    with pytest.raises(StreamLost, match="tokens 1 to 2"):
        await stream.next_event()


async def test_closed_stream_gets_nothing(receiver: TokenReceiver, sender: TokenSender) -> None:
    closed, other = receiver.open("a", 0), receiver.open("b", 0)
    receiver.close_stream("a")
    await publish(sender.sink(receiver.endpoint), [TokenEvent("a", 0, (1,)), TokenEvent("b", 0, (2,))])
    await other.next_event()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(closed.next_event(), 0.05)


async def test_engine_failure_ends_every_request_of_the_ingress(receiver: TokenReceiver, sender: TokenSender) -> None:
    sink = sender.sink(receiver.endpoint)
    endings = [sink.open("a"), sink.open("b")]
    await asyncio.to_thread(sink.fail, EngineDead("the reason"))
    for ending in endings:
        with pytest.raises(EngineDead, match="the reason"):
            await ending


async def test_a_rejection_ends_one_request(receiver: TokenReceiver, sender: TokenSender) -> None:
    sink = sender.sink(receiver.endpoint)
    late, other = sink.open("a"), sink.open("b")
    await asyncio.to_thread(sink.reject, "a", QueueTimeout("too long", 7.0))
    await asyncio.to_thread(sink.reject, "never heard of", QueueTimeout("too long", 7.0))
    with pytest.raises(QueueTimeout, match="too long"):
        await late
    assert not other.done()


async def test_ingress_that_takes_nothing_loses_its_requests(
    sender: TokenSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_sender, "_MAX_QUEUED_FRAMES", 3)
    monkeypatch.setattr(token_sender, "_LINGER_MS", 0)
    sink = sender.sink(Endpoint("tcp://127.0.0.1:9", None))
    ending = sink.open("a")
    for offset in range(4):
        await publish(sink, [TokenEvent("a", offset, (1,))])
    with pytest.raises(StreamLost):
        await asyncio.wait_for(ending, 5)


async def test_forgotten_request_may_still_finish(receiver: TokenReceiver, sender: TokenSender) -> None:
    sink = sender.sink(receiver.endpoint)
    ending = sink.open("a")
    sink.forget("a")
    await publish(sink, [TokenEvent("a", 0, (1,), finish_reason=FinishReason.STOP)])
    await asyncio.sleep(0.05)
    assert not ending.done()


async def test_sinks_are_kept_per_ingress_until_idle(
    receiver: TokenReceiver, sender: TokenSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = TokenReceiver("127.0.0.1")
    busy, idle = sender.sink(receiver.endpoint), sender.sink(other.endpoint)
    busy.open("a")
    assert sender.sink(receiver.endpoint) is busy
    monkeypatch.setattr(token_sender, "_IDLE_S", -1.0)
    third = TokenReceiver("127.0.0.1")
    sender.sink(third.endpoint)
    assert sender.sink(receiver.endpoint) is busy
    assert sender.sink(other.endpoint) is not idle
    for each in (other, third):
        await each.close()


async def test_closing_the_receiver_fails_open_streams() -> None:
    receiver = TokenReceiver("127.0.0.1")
    stream = receiver.open("a", 0)
    await receiver.close()
    with pytest.raises(StreamLost):
        await stream.next_event()


async def test_damaged_frame_is_ignored(receiver: TokenReceiver, sender: TokenSender) -> None:
    stream = receiver.open("a", 0)
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        connect(socket, receiver.endpoint)
        socket.send(b"\xc1 not msgpack")
        await asyncio.sleep(0.1)
    await publish(sender.sink(receiver.endpoint), [TokenEvent("a", 0, (1,))])
    assert (await stream.next_event()).token_ids == (1,)
