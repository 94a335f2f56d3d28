"""What one key may use: limits, what headers tell of them, and cached prefixes of its own."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest

from llama4coder.keys.record import Limits
from tests.keys.made import made, write_keys
from tests.server.serving import MakeSite
from tests.support.fake_backend import Script


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


class Shop:
    """An endpoint with one key, `key`, of some limits, and an unlimited one, `other`."""

    def __init__(self, make_site: MakeSite, folder: Path, limits: Limits, **config: Any) -> None:
        file = write_keys(folder / "keys.json", made("key", limits=limits), made("other"))
        self.site = make_site(keys_file=str(file), **config)

    async def complete(self, key: str = "key", **fields: Any) -> httpx.Response:
        body = {"model": "tiny", "prompt": "def add"} | fields
        return await self.site.client.post("/v1/completions", json=body, headers=bearer(key))

    async def post(self, path: str, body: dict[str, Any], key: str = "key") -> httpx.Response:
        return await self.site.client.post(path, json={"model": "tiny"} | body, headers=bearer(key))


async def test_prefixes_belong_to_one_tenant(make_site: MakeSite, tmp_path: Path) -> None:
    shop = Shop(make_site, tmp_path, Limits())
    for key, salt in (("key", None), ("other", None), ("key", "s"), ("key", "key\0"), ("other", "s")):
        await shop.complete(key, **({} if salt is None else {"cache_salt": salt}))
    salts = [request.cache_salt for request in shop.site.backend.requests]
    assert len(set(salts)) == 5 and "" not in salts
    await shop.complete("key", stream=True)
    await shop.post("/api/generate", {"prompt": "x", "stream": False})
    assert {request.cache_salt for request in shop.site.backend.requests[5:]} == {salts[0]}


async def test_prefixes_may_be_shared(make_site: MakeSite, tmp_path: Path) -> None:
    shop = Shop(make_site, tmp_path, Limits(), share_prefixes=True)
    await shop.complete("key")
    await shop.complete("other", cache_salt="s")
    assert [request.cache_salt for request in shop.site.backend.requests] == ["", "s"]


CHAT = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}


@pytest.mark.parametrize(
    ("path", "body", "prefix", "kind"),
    [
        ("/v1/chat/completions", CHAT, "x-ratelimit", "rate_limit_error"),
        ("/v1/messages", CHAT, "anthropic-ratelimit", "rate_limit_error"),
        ("/api/chat", CHAT, "x-ratelimit", None),
        ("/v1/chat/completions", CHAT | {"stream": True}, "x-ratelimit", "rate_limit_error"),
    ],
)
async def test_requests_per_minute_are_told_in_headers(
    make_site: MakeSite, tmp_path: Path, path: str, body: dict[str, Any], prefix: str, kind: str | None
) -> None:
    shop = Shop(make_site, tmp_path, Limits(requests_per_min=2, tokens_per_min=10_000))
    answers = [await shop.post(path, body) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    is_anthropic = prefix.startswith("anthropic")
    names = [f"{prefix}-requests-{word}" if is_anthropic else f"{prefix}-{word}-requests" for word in WORDS]
    limit, remaining, _ = ([answer.headers[name] for answer in answers] for name in names)
    assert (limit, remaining) == (["2"] * 3, ["1", "0", "0"])
    assert "10000" in answers[0].headers.values()
    assert int(answers[2].headers["retry-after"]) in (29, 30)
    error = answers[2].json()["error"]
    assert "2 requests per minute" in str(error)
    if kind is not None:
        assert error["type"] == kind
    assert shop.site.metric("key_refusals_total", reason="requests") == 1
    assert (await shop.post(path, body, "other")).status_code == 200
    assert not any("ratelimit" in name for name in (await shop.post(path, body, "other")).headers)


WORDS = ("limit", "remaining", "reset")


async def test_resets_are_in_each_dialects_form(make_site: MakeSite, tmp_path: Path) -> None:
    shop = Shop(make_site, tmp_path, Limits(requests_per_min=6))
    assert re.fullmatch(r"(9|10)\.\d{3}s", (await shop.complete()).headers["x-ratelimit-reset-requests"])
    reset = (await shop.post("/v1/messages", CHAT)).headers["anthropic-ratelimit-requests-reset"]
    assert 0 <= (datetime.fromisoformat(reset) - datetime.now(UTC)).total_seconds() <= 20


async def test_looking_something_up_is_no_request(make_site: MakeSite, tmp_path: Path) -> None:
    shop = Shop(make_site, tmp_path, Limits(requests_per_min=1))
    for _ in range(3):
        assert (await shop.site.client.get("/v1/models", headers=bearer("key"))).status_code == 200
    assert (await shop.complete()).status_code == 200


async def test_tokens_of_prompts_and_outputs_are_counted(make_site: MakeSite, tmp_path: Path) -> None:
    shop = Shop(make_site, tmp_path, Limits(tokens_per_min=1000))
    shop.site.backend.script = Script(range(10, 30))
    num_prompt = len(shop.site.ids("def add"))
    await shop.complete(n=2)
    left = int((await shop.complete(max_tokens=1)).headers["x-ratelimit-remaining-tokens"])
    assert left in range(1000 - 2 * num_prompt - 40 - 1, 1000 - 2 * num_prompt - 40 + 20)
    shop.site.backend.script = Script([10] * 200, tokens_per_event=200)
    for _ in range(5):
        await shop.complete(max_tokens=200, stream=True)
    refused = await shop.complete()
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert "1000 tokens per minute" in refused.json()["error"]["message"]
    assert refused.headers["x-ratelimit-remaining-tokens"] == "0"


async def test_tokens_are_counted_by_name_only_where_that_is_wanted(make_site: MakeSite, tmp_path: Path) -> None:
    for wanted in (False, True):
        (tmp_path / str(wanted)).mkdir()
        shop = Shop(make_site, tmp_path / str(wanted), Limits(), tenant_metrics=wanted)
        await shop.complete(n=2)
        num_prompt = len(shop.site.ids("def add")) + 1 if wanted else 0
        assert shop.site.metric("tenant_tokens_total", tenant="key", kind="output") == (6 if wanted else 0)
        assert shop.site.metric("tenant_tokens_total", tenant="key", kind="prompt") in {num_prompt, num_prompt - wanted}
        assert (b'tenant="key"' in generate_latest(shop.site.registry)) is wanted


async def test_requests_that_come_together_do_not_all_pass_before_one_has_paid(
    make_site: MakeSite, tmp_path: Path
) -> None:
    shop = Shop(make_site, tmp_path, Limits(tokens_per_min=10))

    async def body() -> AsyncIterator[bytes]:
        await asyncio.sleep(0.05)  # by then all of them are in
        yield json.dumps({"model": "tiny", "prompt": [5] * 100, "max_tokens": 1}).encode()

    path = "/v1/completions"
    answers = await asyncio.gather(
        *[shop.site.client.post(path, content=body(), headers=bearer("key")) for _ in range(8)]
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [429] * 7


@pytest.mark.parametrize("stream", [True, False])
async def test_so_many_requests_at_a_time(make_site: MakeSite, tmp_path: Path, stream: bool) -> None:
    shop = Shop(make_site, tmp_path, Limits(concurrent_requests=3))
    shop.site.backend.script = Script([10] * 5, delay_s=0.02)
    answers = await asyncio.gather(*[shop.complete(stream=stream) for _ in range(20)])
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 17
    assert shop.site.metric("key_refusals_total", reason="concurrent") == 17
    assert all("3 requests at a time" in answer.text for answer in answers if answer.status_code == 429)
    again = await asyncio.gather(*[shop.complete(stream=stream) for _ in range(3)])
    assert [answer.status_code for answer in again] == [200] * 3, "every place is given back"


async def test_failures_give_their_place_back(make_site: MakeSite, tmp_path: Path) -> None:
    shop = Shop(make_site, tmp_path, Limits(concurrent_requests=1))
    assert (await shop.complete(temperature=9)).status_code == 400
    shop.site.backend.script = Script(refusal=RuntimeError("secret"))
    assert (await shop.complete()).status_code == 500
    shop.site.backend.script = Script()
    assert (await shop.complete()).status_code == 200


async def test_a_context_of_ones_own(make_site: MakeSite, tmp_path: Path) -> None:
    shop = Shop(make_site, tmp_path, Limits(max_context=40))
    shop.site.backend.script = Script([10] * 200)
    short = (await shop.complete(prompt=[5] * 30)).json()
    assert short["usage"]["completion_tokens"] == 10
    for fields in ({"max_tokens": 11}, {"prompt": [5] * 40}):
        refused = await shop.complete(**({"prompt": [5] * 30} | fields))
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "context_length_exceeded"
        assert "This key's maximum context length is 40 tokens" in refused.json()["error"]["message"]
    assert (await shop.complete("other", prompt=[5] * 40, max_tokens=20)).status_code == 200
