"""API keys at the endpoint: every route, every kind of key, every dialect, and every limit."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest
from starlette.routing import BaseRoute, Route

from llama4coder.keys.record import Limits
from llama4coder.keys.scope import DIALECTS, Scope
from llama4coder.server.dialect import scopes_at
from llama4coder.server.gate import OPEN_PATHS
from tests.keys.made import LONG_AGO, made, write_keys
from tests.server.serving import MakeSite, Site
from tests.support.fake_backend import Script

KEYS = [
    made("good", scopes=list(Scope)),
    made("revoked", scopes=list(Scope), revoked=LONG_AGO),
    made("expired", scopes=list(Scope), expires=LONG_AGO),
    made("elsewhere", scopes=list(Scope), models=["other"]),
    *[made(f"only-{scope}", scopes=[scope]) for scope in Scope],
    *[made(f"all-but-{scope}", scopes=[other for other in Scope if other is not scope]) for scope in Scope],
]


@pytest.fixture
def locked(make_site: MakeSite, tmp_path: Path) -> Site:
    return make_site(keys_file=str(write_keys(tmp_path / "keys.json", *KEYS)))


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def doors(site: Site) -> list[tuple[str, str]]:
    """Every method and path of the application."""
    found = [
        (method, re.sub(r"\{[^}]*\}", "org/tiny", route.path))
        for route in routes_in(site.app.routes)
        for method in sorted(route.methods or ())
    ]
    assert len(found) > 40
    return found


def routes_in(routes: Sequence[BaseRoute]) -> Iterator[Route]:
    for route in routes:
        if isinstance(route, Route):
            yield route
        else:
            yield from routes_in(route.original_router.routes)  # type: ignore[attr-defined]  # an included router


async def ask(site: Site, method: str, path: str, key: str | None) -> httpx.Response:
    return await site.client.request(method, path, headers={} if key is None else bearer(key))


async def test_every_route_is_closed_without_a_key_that_counts(locked: Site) -> None:
    for method, path in doors(locked):
        statuses = [
            (await ask(locked, method, path, key)).status_code
            for key in (None, "", "wrong", "revoked", "expired", "elsewhere")
        ]
        is_open = path in OPEN_PATHS
        assert statuses == ([200] * 6 if is_open else [401, 401, 401, 401, 401, 403]), (method, path)
    assert locked.backend.requests == []


async def test_every_route_opens_to_its_own_scopes_alone(locked: Site) -> None:
    for method, path in doors(locked):
        if path in OPEN_PATHS:
            continue
        opens = {scope for scope in Scope if not await is_out_of_scope(locked, method, path, f"only-{scope}")}
        assert opens == scopes_at(path) != set(), (method, path)
        if len(opens) == 1:
            assert await is_out_of_scope(locked, method, path, f"all-but-{next(iter(opens))}")
        assert not await is_out_of_scope(locked, method, path, "good")


async def is_out_of_scope(site: Site, method: str, path: str, key: str) -> bool:
    """By what is counted: an answer to HEAD has no text, and some routes refuse everybody."""
    before = site.metric("key_refusals_total", reason="scope")
    answer = await ask(site, method, path, key)
    is_refused = site.metric("key_refusals_total", reason="scope") == before + 1
    assert answer.status_code == 403 if is_refused else answer.status_code != 401, "such keys count"
    return is_refused


async def test_paths_that_do_not_exist_look_like_those_that_do(locked: Site) -> None:
    for method, path in (("GET", "/nowhere"), ("DELETE", "/v1/models"), ("OPTIONS", "/v1/models"), ("GET", "/health/")):
        assert (await ask(locked, method, path, None)).status_code == 401
    assert (await ask(locked, "GET", "/nowhere", "good")).status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": "Bearer good"}, 200),
        ({"authorization": "bearer  good "}, 200),
        ({"x-api-key": "good"}, 200),
        ({"api-key": "good"}, 200),
        ({"authorization": "Bearer good", "x-api-key": "good"}, 200),
        ({"authorization": "Bearer none", "x-api-key": "good"}, 200),
        ({"authorization": "Bearer good", "x-api-key": "none"}, 200),
        ({"authorization": "good"}, 401),
        ({"authorization": "Basic good"}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"authorization": "Bearer g\u00f6\u00f6d"}, 401),
        ({"cookie": "key=good"}, 401),
    ],
)
async def test_where_a_key_may_stand(locked: Site, headers: dict[str, str], status: int) -> None:
    latin = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = await locked.client.get("/v1/models", headers=latin)  # type: ignore[arg-type]
    assert answer.status_code == status
    assert (await locked.client.get("/v1/models?api_key=good&key=good")).status_code == 401


ERRORS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "/v1/chat/completions",
        {"type": "invalid_request_error", "param": None, "code": "invalid_api_key"},
        {"type": "invalid_request_error", "param": None, "code": "insufficient_scope"},
    ),
    ("/infill", {"type": "authentication_error", "code": 401}, {"type": "permission_error", "code": 403}),
    ("/v1/messages", {"type": "authentication_error"}, {"type": "permission_error"}),
]


@pytest.mark.parametrize(("path", "refused", "forbidden"), ERRORS)
async def test_refusals_are_in_the_dialect(
    locked: Site, path: str, refused: dict[str, Any], forbidden: dict[str, Any]
) -> None:
    for key, expected in (("wrong", refused), ("elsewhere", forbidden)):
        answer = await ask(locked, "POST", path, key)
        error = answer.json()["error"]
        assert "API key" in error.pop("message")
        assert error == expected
        assert answer.headers["x-request-id"]
        assert answer.headers.get("www-authenticate") == ("Bearer" if key == "wrong" else None)


async def test_ollama_is_told_in_one_line(locked: Site) -> None:
    assert (await ask(locked, "POST", "/api/chat", None)).json() == {
        "error": "an API key is needed, as 'Authorization: Bearer KEY' or 'x-api-key: KEY'"
    }


async def test_unknown_revoked_and_expired_keys_cannot_be_told_apart(
    locked: Site, caplog: pytest.LogCaptureFixture
) -> None:
    answers = [await ask(locked, "GET", "/v1/models", key) for key in ("wrong-secret", "revoked", "expired")]
    assert len({answer.content for answer in answers}) == 1
    heads = [{name for name in answer.headers if "request-id" not in name} for answer in answers]
    assert heads[0] == heads[1] == heads[2]
    for reason in ("unknown", "revoked", "expired"):
        assert locked.metric("key_refusals_total", reason=reason) == 1
    assert locked.metric("requests_total", api="other", model="org/tiny", code="401") == 3
    assert "wrong-secret" not in answers[0].text + caplog.text


async def test_nothing_of_the_body_is_read_for_a_stranger(locked: Site) -> None:
    async def body() -> Any:
        raise AssertionError("read")
        yield b""

    assert (await locked.client.post("/v1/completions", content=body())).status_code == 401


async def test_keys_are_read_again_while_it_serves(
    make_site: MakeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llama4coder.keys.key_store._LOOK_EVERY_S", 0.0)
    file = write_keys(tmp_path / "keys.json", made("first"))
    site = make_site(keys_file=str(file))
    assert (await ask(site, "GET", "/v1/models", "first")).status_code == 200
    write_keys(file, made("first", revoked=datetime.now(UTC)), made("second"))
    assert (await ask(site, "GET", "/v1/models", "first")).status_code == 401
    assert (await ask(site, "GET", "/v1/models", "second")).status_code == 200


async def test_without_a_key_file_nobody_needs_a_key(site: Site) -> None:
    assert (await site.chat()).status_code == 200
    assert (await ask(site, "GET", "/metrics", None)).status_code == 200
    assert site.backend.requests[0].cache_salt == ""


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
        assert (await ask(shop.site, "GET", "/v1/models", "key")).status_code == 200
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


@pytest.mark.parametrize(
    ("path", "scopes"),
    [
        ("/v1/chat/completions", {Scope.OPENAI}),
        ("/v1/completions", {Scope.OPENAI}),
        ("/v1/responses", {Scope.OPENAI}),
        ("/beta/completions", {Scope.OPENAI}),
        ("/tokenize", {Scope.OPENAI}),
        ("/", set(DIALECTS)),
        ("/nowhere", {Scope.OPENAI}),
        ("/v1/messages", {Scope.ANTHROPIC}),
        ("/v1/messages/count_tokens", {Scope.ANTHROPIC}),
        ("/v1/messages-of-old", {Scope.OPENAI}),
        ("/api/chat", {Scope.OLLAMA}),
        ("/api/tags", {Scope.OLLAMA}),
        ("/infill", {Scope.LLAMA_CPP}),
        ("/v1/fim/completions", {Scope.MISTRAL}),
        ("/metrics", {Scope.METRICS}),
        ("/v1/models", {Scope.OPENAI, Scope.ANTHROPIC, Scope.MISTRAL}),
        ("/v1/models/org/tiny", {Scope.OPENAI, Scope.ANTHROPIC, Scope.MISTRAL}),
    ],
)
def test_which_scopes_open_a_path(path: str, scopes: set[Scope]) -> None:
    assert scopes_at(path) == scopes


async def test_dialect_scopes_are_all_of_them() -> None:
    assert {*DIALECTS, Scope.METRICS} == set(Scope)
