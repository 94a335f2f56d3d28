"""A stream adds up to the whole answer, in every dialect, however the tokens come."""

import asyncio

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.dialects import WHOLE_TEXT, streamed_text
from tests.server.serving import MakeSite, Site
from tests.support.fake_backend import Script
from tests.support.tiny import VOCAB_SIZE

BODY = {"model": "tiny", "prompt": "hi", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 64}
# A dialect without stop strings.
NO_STOPS = {"/v1/responses": {"model": "tiny", "input": "hi", "max_output_tokens": 64}}


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    return make_site()


async def _both(site: Site, path: str, stop: list[str]) -> tuple[httpx.Response, httpx.Response]:
    body = NO_STOPS.get(path) or BODY | {"stop": stop, "stop_sequences": stop, "options": {"stop": stop}}
    transport = httpx.ASGITransport(site.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        whole = await client.post(path, json=body | {"stream": False})
        streamed = await client.post(path, json=body | {"stream": True})
    await site.backend.until_idle()
    return whole, streamed


@pytest.mark.parametrize("path", WHOLE_TEXT)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    # Single bytes are among the tokens, so that characters come in pieces, and some never whole.
    token_ids=st.lists(st.integers(3, VOCAB_SIZE - 1), max_size=20),
    tokens_per_event=st.integers(1, 4),
    stop=st.lists(st.text("abc ()\n", min_size=1, max_size=3), max_size=3),
)
def test_a_stream_adds_up(site: Site, path: str, token_ids: list[int], tokens_per_event: int, stop: list[str]) -> None:
    site.backend.script = Script(token_ids, tokens_per_event=tokens_per_event)
    whole, streamed = asyncio.run(_both(site, path, stop))
    text = WHOLE_TEXT[path](whole.json())
    assert streamed_text(path, streamed.text) == text
    assert path in NO_STOPS or not any(string in text for string in stop)
