"""A client that does not take its chunks gets fewer of them, and the same text."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Message

from llama4coder.server.generation import Chunk, coalesce
from llama4coder.types import FinishReason, PositionLogprobs, TokenLogprob
from tests.server.serving import MakeSite, Site
from tests.support.fake_backend import Script

NUM_CHOICES = 3


@dataclass
class SlowClient:
    """Speaks ASGI itself; takes the n-th message only after `delays[n]` turns of the event loop."""

    delays: Sequence[int]
    bodies: list[bytes] = field(default_factory=list)
    _asked: bool = False

    async def receive(self) -> Message:
        if self._asked:
            await asyncio.sleep(30)
        self._asked = True
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            self.bodies.append(message.get("body", b""))
        for _ in range(self.delays[len(self.bodies) % len(self.delays)]):
            await asyncio.sleep(0)

    async def stream(self, site: Site, **fields: object) -> list[dict[str, Any]]:
        """The events of one streamed completion."""
        content = {"model": "tiny", "prompt": "def add", "stream": True, "stream_options": {"include_usage": True}}
        self.body = json.dumps(content | fields).encode()
        scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": [], "query_string": b""}
        await site.app(scope, self.receive, self.send)
        frames = b"".join(self.bodies).decode().split("\n\n")
        assert frames[-2:] == ["data: [DONE]", ""]
        return [json.loads(frame.removeprefix("data: ")) for frame in frames[:-2]]


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    return make_site()


def texts_of(events: list[dict[str, Any]]) -> dict[int, str]:
    texts: dict[int, str] = defaultdict(str)
    for event in events:
        for choice in event["choices"]:
            texts[choice["index"]] += choice["text"]
    return texts


@pytest.mark.parametrize("logprobs", [None, 1])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    token_ids=st.lists(st.integers(10, 300), min_size=1, max_size=40),
    tokens_per_event=st.integers(1, 5),
    delays=st.lists(st.integers(0, 30), min_size=1, max_size=8),
)
def test_any_interleaving_gives_the_same(
    site: Site, token_ids: list[int], tokens_per_event: int, delays: list[int], logprobs: int | None
) -> None:
    async def both() -> tuple[list[dict[str, Any]], dict[str, Any]]:
        site.backend.script = Script(token_ids, tokens_per_event=tokens_per_event)
        fields = {"n": NUM_CHOICES, "logprobs": logprobs}
        whole = (await site.complete(**fields)).json()
        return await SlowClient(delays).stream(site, **fields), whole

    events, whole = asyncio.run(both())
    assert texts_of(events) == {choice["index"]: choice["text"] for choice in whole["choices"]}
    assert events[-1]["usage"] == whole["usage"]
    assert whole["usage"]["completion_tokens"] == NUM_CHOICES * len(token_ids)
    reasons = [choice["finish_reason"] for event in events for choice in event["choices"] if choice["finish_reason"]]
    assert len(reasons) == NUM_CHOICES
    for choice in whole["choices"] if logprobs else ():
        parts = [part["logprobs"] for event in events for part in event["choices"] if part["index"] == choice["index"]]
        for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            assert [item for part in parts if part for item in part[name]] == choice["logprobs"][name]


async def test_a_client_that_keeps_up_gets_every_event(site: Site) -> None:
    site.backend.script = Script(site.ids("def add(first, second):"), delay_s=0.002)
    async with site.client:
        events = await SlowClient([0]).stream(site)
    assert len([event for event in events if event["choices"]]) >= len(site.backend.script.token_ids)


async def test_a_client_that_stalls_gets_the_first_token_at_once_and_the_rest_together(site: Site) -> None:
    token_ids = site.ids("def add(first, second):")
    site.backend.script = Script(token_ids)
    client = SlowClient([0, 1000])  # stalls once it has the first chunk
    async with site.client:
        events = await client.stream(site)
    first, rest = [event["choices"][0] for event in events if event["choices"]]
    assert first["text"] == site.tokenizer.decode(token_ids[:1])
    assert (rest["text"], rest["finish_reason"]) == ("def add(first, second):"[len(first["text"]) :], "stop")


def test_order_and_every_field_survive() -> None:
    position = PositionLogprobs(TokenLogprob(5, -1.0), ())
    chunks = [
        Chunk(1, "a", (1,), (position,), prompt_logprobs=(None,), num_cached_tokens=3),
        Chunk(0, "x", (7,)),
        Chunk(1, "b", (2, 3), (position, position)),
        Chunk(1, "", (), finish_reason=FinishReason.STOP),
    ]
    assert coalesce(chunks) == [
        Chunk(1, "ab", (1, 2, 3), (position,) * 3, (None,), FinishReason.STOP, 3),
        Chunk(0, "x", (7,)),
    ]
    assert coalesce([]) == []
