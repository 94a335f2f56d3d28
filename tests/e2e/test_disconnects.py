"""Clients that leave: half-way, before the first token, in a crowd, and rudely. The fixture counts the blocks."""

import asyncio
import json
import socket
import time
from collections.abc import Callable

import pytest
from openai import AsyncOpenAI, OpenAI

from tests.e2e.conftest import MODEL, RECOVERY_TIMEOUT_S
from tests.support.live_server import LiveServer

pytestmark = [pytest.mark.cluster, pytest.mark.model]

ENDLESS = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 3000, "ignore_eos": True}


def send(server: LiveServer, body: dict[str, object]) -> socket.socket:
    """A raw request on a connection of its own."""
    content = json.dumps(body).encode()
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
    connection.sendall(head.encode() + content)
    return connection


def seconds_until_free(used_blocks: Callable[[], float]) -> float:
    start_s = time.monotonic()
    while used_blocks() > 0:
        assert time.monotonic() - start_s < 30, "blocks leaked"
        time.sleep(0.1)
    return time.monotonic() - start_s


def wait_until_running(used_blocks: Callable[[], float]) -> None:
    deadline_s = time.monotonic() + 30
    while used_blocks() == 0:
        assert time.monotonic() < deadline_s, "nothing ever ran"
        time.sleep(0.1)


def test_a_closed_stream_frees_its_blocks(openai: OpenAI, used_blocks: Callable[[], float]) -> None:
    body = {key: value for key, value in ENDLESS.items() if key != "ignore_eos"}
    with openai.completions.create(**body, stream=True, extra_body={"ignore_eos": True}) as stream:
        for _, chunk in zip(range(5), stream, strict=False):
            assert chunk.choices[0].finish_reason is None
    assert seconds_until_free(used_blocks) < 5  # the metrics themselves lag by a second


def test_an_answer_may_take_longer_than_a_replica_to_find(openai: OpenAI) -> None:
    body = {key: value for key, value in ENDLESS.items() if key != "ignore_eos"}
    until_s = time.monotonic() + 1.5 * RECOVERY_TIMEOUT_S
    with openai.completions.create(
        **body, stream=True, extra_body={"ignore_eos": True, "speculation": False}
    ) as stream:
        last = next(chunk for chunk in stream if chunk.choices[0].finish_reason or time.monotonic() > until_s)
    assert last.choices[0].finish_reason is None, "it was to be longer"


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("linger", [False, True], ids=["reset", "close"])
def test_a_vanished_connection_frees_its_blocks(
    server: LiveServer, used_blocks: Callable[[], float], stream: bool, linger: bool
) -> None:
    connection = send(server, {**ENDLESS, "stream": stream})
    wait_until_running(used_blocks)
    if not linger:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    connection.close()
    assert seconds_until_free(used_blocks) < 5


def test_leaving_during_a_long_prefill(server: LiveServer, used_blocks: Callable[[], float]) -> None:
    connection = send(server, {**ENDLESS, "prompt": "x = compute(y)\n" * 500, "max_tokens": 10, "stream": True})
    wait_until_running(used_blocks)
    connection.close()
    assert seconds_until_free(used_blocks) < 8


def test_choices_all_end_when_their_client_leaves(server: LiveServer, used_blocks: Callable[[], float]) -> None:
    connection = send(server, {**ENDLESS, "n": 4, "stream": True})
    wait_until_running(used_blocks)
    connection.close()
    assert seconds_until_free(used_blocks) < 5


async def test_half_of_32_streams_leave_and_the_others_finish(async_openai: AsyncOpenAI) -> None:
    async def stream(index: int) -> str | None:
        chunks = await async_openai.completions.create(
            model=MODEL, prompt=f"Line {index}:", max_tokens=32, stream=True, extra_body={"ignore_eos": True}
        )
        async with chunks:
            num_chunks, reason = 0, None
            async for chunk in chunks:
                num_chunks += 1
                reason = chunk.choices[0].finish_reason
                if index % 2 and num_chunks == 4:
                    return None
        return reason

    reasons = await asyncio.gather(*(stream(index) for index in range(32)))
    assert reasons == [None if index % 2 else "length" for index in range(32)]


def test_a_long_prefill_keeps_the_connection_alive(server: LiveServer) -> None:
    """Comments come before the first token, which the prompt's thousands of tokens delay."""
    body = {**ENDLESS, "prompt": "y = compute(x)\n" * 500, "max_tokens": 4, "stream": True}
    with send(server, body) as connection:
        received = b""
        while b"[DONE]" not in received:
            data = connection.recv(65536)
            assert data, "the server closed the stream before its end"
            received += data
    assert b" 200 " in received.partition(b"\r\n")[0]
    assert received.index(b": keep-alive") < received.index(b"data: ")
