"""Models, tokens, health, metrics, ids, limits, and paths that do not exist."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from llama4coder.errors import EngineDead
from tests.server.serving import MakeSite, Site
from tests.support.fake_backend import Script


async def test_models(site: Site) -> None:
    models = (await site.client.get("/v1/models")).json()
    assert models["object"] == "list"
    assert [model["id"] for model in models["data"]] == ["org/tiny", "tiny"]
    for name in ("org/tiny", "tiny"):
        model = (await site.client.get(f"/v1/models/{name}")).json()
        assert (model["id"], model["object"], model["root"], model["created"]) == (
            name, "model", "org/tiny", 1700000000,
        )  # fmt: skip
        assert (model["max_model_len"], model["context_length"]) == (256, 256)
        assert model["capabilities"] == ["chat", "completion"]
    missing = await site.client.get("/v1/models/org/other")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


async def test_tokenize_and_back(site: Site) -> None:
    answer = await site.client.post("/tokenize", json={"prompt": "def add", "return_token_strs": True})
    ids = site.ids("def add")
    assert answer.json() == {
        "count": len(ids),
        "max_model_len": 256,
        "tokens": ids,
        "token_strs": [site.tokenizer.token_text(token_id) for token_id in ids],
    }
    back = await site.client.post("/detokenize", json={"model": "tiny", "tokens": ids})
    assert back.json() == {"prompt": "def add"}


async def test_tokenize_chats(site: Site) -> None:
    messages = [{"role": "user", "content": "hi"}]
    text = "<|im_start|>user\nhi<|im_end|>\n"
    for add, expected in ((True, text + "<|im_start|>assistant\n"), (False, text)):
        answer = await site.client.post("/tokenize", json={"messages": messages, "add_generation_prompt": add})
        assert answer.json()["tokens"] == site.ids(expected)
        assert answer.json()["token_strs"] is None


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/tokenize", {}, 400, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": [{"role": "user", "content": "a"}]}, 400, "prompt"),
        ("/tokenize", {"prompt": 5}, 400, "prompt"),
        ("/tokenize", {"messages": []}, 400, "messages"),
        ("/tokenize", {"prompt": "a", "model": "other"}, 404, "model"),
        ("/detokenize", {}, 400, "tokens"),
        ("/detokenize", {"tokens": [400]}, 400, "tokens"),
        ("/detokenize", {"tokens": [-1]}, 400, "tokens"),
        ("/detokenize", {"tokens": ["1"]}, 400, "tokens[0]"),
        ("/detokenize", {"tokens": [True]}, 400, "tokens[0]"),
        ("/detokenize", {"tokens": [1], "model": "other"}, 404, "model"),
    ],
)
async def test_bad_token_requests(site: Site, path: str, body: dict[str, object], status: int, param: str) -> None:
    response = await site.client.post(path, json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (status, param)


async def test_many_probes_ask_for_one_token(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    probes = 0

    async def probe(timeout_s: float) -> None:
        nonlocal probes
        probes += 1
        await asyncio.sleep(0.05)
        if probes == 1:
            raise EngineDead("not yet")

    monkeypatch.setattr(site.backend, "probe", probe)
    for status in (503, 200, 200):
        answers = await asyncio.gather(*[site.client.get("/ready") for _ in range(20)])
        assert {answer.status_code for answer in answers} == {status}
    assert probes == 2, "a failure is asked about again, a token is proof for a while"


async def test_health_does_not_ask_the_engine_and_ready_does(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llama4coder.server.health._PROOF_S", 0.0)
    assert (await site.client.get("/ready")).status_code == 200
    site.backend.dead = EngineDead("rank 3 does not answer")
    assert (await site.client.get("/health")).status_code == 200
    response = await site.client.get("/ready")
    assert response.status_code == 503
    assert response.json()["error"]["message"] == "rank 3 does not answer"
    assert response.headers["retry-after"]


async def test_ready_has_a_deadline(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llama4coder.server.health._GRACE_S", 0.01)
    site = make_site(ready_timeout_s=0.02)
    site.backend.probe_delay_s = 30
    response = await site.client.get("/ready")
    assert response.status_code == 503
    assert "0.02" in response.json()["error"]["message"]


async def test_metrics_are_the_backends(site: Site) -> None:
    response = await site.client.get("/metrics")
    assert response.content == site.backend.metrics_text
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")


async def test_requests_are_counted_by_api_model_and_code(site: Site) -> None:
    await site.chat()
    await site.chat(stream=True)
    await site.complete(temperature=9)
    await site.client.get("/v1/models/org/tiny")
    await site.client.get("/some/path")
    await site.client.get("/health")
    counted = [("chat_completions", "200", 2), ("completions", "400", 1), ("models", "200", 1), ("other", "404", 1)]
    for api, code, count in counted:
        assert site.metric("requests_total", api=api, model="org/tiny", code=code) == count
        assert site.metric("request_duration_seconds_count", api=api) == count
    assert site.metric("request_duration_seconds_count", api="health") == 0
    assert site.metric("active_streams") == 0
    assert site.metric("client_disconnects_total") == 0


@pytest.mark.parametrize(
    ("path", "api", "body"),
    [
        ("/v1/messages", "messages", {"max_tokens": 5}),
        ("/v1/messages/count_tokens", "count_tokens", {}),
        ("/api/chat", "ollama_chat", {}),
        ("/api/generate", "ollama_generate", {"prompt": "hi"}),
        ("/api/show", "ollama_models", {}),
    ],
)
async def test_each_dialect_is_counted(site: Site, path: str, api: str, body: dict[str, object]) -> None:
    turns = [{"role": "user", "content": "hi"}]
    assert (await site.client.post(path, json={"model": "tiny", "messages": turns} | body)).status_code == 200
    assert site.metric("requests_total", api=api, model="org/tiny", code="200") == 1


@pytest.mark.parametrize("path", ["/api/chat", "/v1/messages"])
async def test_streams_of_every_kind_are_open_streams(site: Site, path: str) -> None:
    site.backend.script = Script([10] * 5, delay_s=0.05)
    body = {"model": "tiny", "max_tokens": 5, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    running = asyncio.create_task(site.client.post(path, json=body))
    async with asyncio.timeout(2):
        while site.metric("active_streams") != 1:
            await asyncio.sleep(0.005)
    assert (await running).status_code == 200
    assert site.metric("active_streams") == 0


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [("abc-123", True), ("a" * 128, True), ("a" * 129, False), ("a b", False), ("a\tb", False), ("", False)],
)
async def test_request_ids(site: Site, given: str, is_kept: bool) -> None:
    response = await site.client.get("/health", headers={"x-request-id": given})
    assert (response.headers["x-request-id"] == given) is is_kept
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("POST", "/v1/embeddings", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("GET", "/docs", 404),
        ("GET", "/v1/models/", 404),
    ],
)
async def test_paths_and_methods_that_do_not_exist(site: Site, method: str, path: str, status: int) -> None:
    response = await site.client.request(method, path)
    assert response.status_code == status
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert response.headers["x-request-id"]


async def test_bodies_over_the_limit_declared_or_not(make_site: MakeSite) -> None:
    site = make_site(max_body_bytes=1000)

    async def stream() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"x" * 100

    too_large: list[httpx.Response] = [
        await site.client.post("/v1/completions", content=b"x" * 1001),
        await site.client.post("/v1/completions", content=stream()),
        await site.client.post("/tokenize", content=b"x" * 100_000),
    ]
    for response in too_large:
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "body_too_large"
        assert "1000 bytes" in response.json()["error"]["message"]
    assert (await site.client.post("/v1/completions", content=b"x" * 1000)).status_code == 400
    wrong = await site.client.post("/v1/completions", content=b"{}", headers={"content-length": "many"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "content-length")
