"""API keys at the endpoint: every route, every kind of key, and every dialect."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.routing import BaseRoute, Route

from llama4coder.keys.scope import DIALECTS, Scope
from llama4coder.server.dialect import scopes_at
from llama4coder.server.gate import OPEN_PATHS
from tests.keys.made import LONG_AGO, made, write_keys
from tests.server.serving import MakeSite, Site

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
    assert locked.metric("requests_total", api="models", model="org/tiny", code="401") == 3
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
