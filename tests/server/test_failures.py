"""What the backend's failures look like to a client, before and after the first byte."""

import asyncio
import json
import logging

import httpx
import pytest
from starlette.types import Message

from llama4coder.errors import (
    ContextTooLong,
    EngineDead,
    InvalidRequest,
    Overloaded,
    QueueTimeout,
    StreamLost,
    Unavailable,
)
from llama4coder.types import FinishReason
from tests.server.serving import MakeSite, Site
from tests.support.fake_backend import Script

REFUSALS = [
    (Overloaded("7 requests wait already", 2.3), 429, "overloaded", "3"),
    (Overloaded("7 requests wait already", 0.0), 429, "overloaded", "1"),
    (QueueTimeout("no room within 120 s", 41.2), 503, "queue_timeout", "42"),
    (QueueTimeout("no room within 120 s", 0.0), 503, "queue_timeout", "1"),
    (EngineDead("the engine has failed"), 503, "unavailable", "5"),
    (Unavailable("draining"), 503, "unavailable", "5"),
    (StreamLost("lost"), 503, "unavailable", "5"),
    (ContextTooLong("too long", "prompt", 9, 8), 400, "context_length_exceeded", None),
    (InvalidRequest("no such thing", "seed"), 400, "invalid_value", None),
    (RuntimeError("secret"), 500, "internal_error", None),
    (TimeoutError("secret"), 500, "internal_error", None),
    (KeyError("secret"), 500, "internal_error", None),
]


@pytest.mark.parametrize(("refusal", "status", "code", "retry_after"), REFUSALS)
@pytest.mark.parametrize("stream", [False, True])
async def test_refusals_are_http_errors(
    site: Site, refusal: Exception, status: int, code: str, retry_after: str | None, stream: bool
) -> None:
    site.backend.script = Script(refusal=refusal)
    for response in (await site.chat(stream=stream), await site.complete(stream=stream, n=3)):
        assert response.status_code == status
        assert response.json()["error"]["code"] == code
        assert response.headers.get("retry-after") == retry_after
        assert response.headers["content-type"] == "application/json"
        assert "secret" not in response.text
        assert "x-request-id" in response.headers


def _last_error(response: httpx.Response) -> dict[str, object]:
    frames = [frame for frame in response.text.split("\n\n") if frame]
    assert frames[-1] == "data: [DONE]"
    error: dict[str, object] = json.loads(frames[-2].removeprefix("data: "))["error"]
    return error


@pytest.mark.parametrize(
    "script",
    [
        Script(range(10, 20), death=EngineDead("the engine has failed"), death_after=3),
        Script(range(10, 20), finish_reason=None),
        Script(range(10, 20), finish_reason=FinishReason.ERROR),
        Script(range(10, 20), finish_reason=FinishReason.ABORT),
        Script(range(10, 20), offset_gap=1),
    ],
)
async def test_a_failure_midway_never_looks_finished(site: Site, script: Script) -> None:
    site.backend.script = script
    for whole in (await site.chat(), await site.complete()):
        assert whole.status_code == 503
    for stream in (await site.chat(stream=True), await site.complete(stream=True)):
        assert stream.status_code == 200
        assert _last_error(stream)["code"] == "unavailable"
        assert '"finish_reason":"' not in stream.text


async def test_an_unexpected_failure_midway_says_and_logs_nothing_of_its_message(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.backend.script = Script(range(10, 20), death=ValueError("secret"), death_after=3)
    response = await site.chat(stream=True)
    assert _last_error(response)["code"] == "internal_error"
    assert (await site.chat()).status_code == 500
    assert "secret" not in response.text + caplog.text
    assert "ValueError" in caplog.text
    assert all(record.levelno == logging.ERROR for record in caplog.records)


async def test_when_one_choice_fails_the_others_end_too(site: Site) -> None:
    site.backend.choose = lambda request: (
        Script(range(10, 20), death=EngineDead("failed"), death_after=2)
        if request.seed == 1
        else Script([10] * 200, delay_s=0.01)
    )
    assert (await site.chat(n=3, seed=0)).status_code == 503
    await site.backend.until_idle()
    assert len(site.backend.aborted) == 2
    assert _last_error(await site.chat(n=3, seed=0, stream=True))["code"] == "unavailable"
    assert len(site.backend.aborted) == 4


async def test_a_backend_that_cancels_itself_does_not_hang_anybody(site: Site) -> None:
    def cancel_readers() -> None:
        for task in asyncio.all_tasks():
            if "_pump" in repr(task.get_coro()):
                task.cancel()

    site.backend.script = Script(delay_s=5, first_delay_s=5)
    waiting = asyncio.create_task(site.chat())
    await asyncio.sleep(0.05)
    cancel_readers()
    assert (await asyncio.wait_for(waiting, 2)).status_code == 503


async def test_keep_alive_comments_fill_silence(make_site: MakeSite) -> None:
    site = make_site(keep_alive_s=0.05)
    site.backend.script = Script([10, 11], first_delay_s=0.18, delay_s=0.12)
    response = await site.chat(stream=True)
    before, after = response.text.split("data:", 1)
    assert before.count(": keep-alive\n\n") >= 2
    assert ": keep-alive\n\n" in after
    assert response.text.endswith("data: [DONE]\n\n")


async def test_a_refusal_after_the_first_keep_alive_is_an_event(make_site: MakeSite) -> None:
    site = make_site(keep_alive_s=0.02)
    site.backend.script = Script(first_delay_s=0.1, death=Overloaded("full", 1), death_after=0)
    response = await site.chat(stream=True)
    assert response.status_code == 200
    assert _last_error(response)["code"] == "overloaded"


async def test_a_stream_that_waited_too_long_says_when_to_come_back(make_site: MakeSite) -> None:
    site = make_site(keep_alive_s=0.02)
    site.backend.script = Script(first_delay_s=0.1, death=QueueTimeout("try again in 41 s", 41.0), death_after=0)
    response = await site.chat(stream=True)
    assert response.status_code == 200
    error = _last_error(response)
    assert error["code"] == "queue_timeout" and "41 s" in str(error["message"])


async def test_the_first_token_is_not_held_back(site: Site) -> None:
    site.backend.script = Script([10, 11], delay_s=30)
    messages: asyncio.Queue[Message] = asyncio.Queue()
    body = json.dumps({"model": "tiny", "prompt": "x", "stream": True}).encode()
    incoming: asyncio.Queue[Message] = asyncio.Queue()
    incoming.put_nowait({"type": "http.request", "body": body, "more_body": False})
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/v1/completions", "raw_path": b"/v1/completions", "query_string": b"", "root_path": "",
        "headers": [], "client": ("test", 1), "server": ("test", 1),
    }  # fmt: skip
    running = asyncio.create_task(site.app(scope, incoming.get, messages.put))
    assert (await asyncio.wait_for(messages.get(), 2))["status"] == 200
    first = await asyncio.wait_for(messages.get(), 2)
    assert b'"text":' in first["body"]
    assert site.metric("active_streams") == 1
    incoming.put_nowait({"type": "http.disconnect"})
    await asyncio.wait_for(running, 2)
    assert site.backend.running == set()
    assert len(site.backend.aborted) == 1
    assert site.metric("client_disconnects_total") == 1
    assert site.metric("active_streams") == 0
