"""A key that is revoked ends what runs for it, in every dialect; one that expires does not."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import httpx
import msgspec
import pytest

from llama4coder.keys.changes import with_revoked
from llama4coder.keys.key_file import change_keys
from tests.keys.made import LONG_AGO, made, write_keys
from tests.server.serving import MakeSite, Site
from tests.support.fake_backend import FakeBackend, Script

MESSAGES = [{"role": "user", "content": "hi"}]
BODIES: Mapping[str, Mapping[str, object]] = {
    "/v1/chat/completions": {"model": "tiny", "messages": MESSAGES},
    "/v1/completions": {"model": "tiny", "prompt": "hi"},
    "/v1/responses": {"model": "tiny", "input": "hi"},
    "/v1/messages": {"model": "tiny", "messages": MESSAGES, "max_tokens": 100},
    "/api/chat": {"model": "tiny", "messages": MESSAGES},
}
SAYS = "this API key has been revoked"


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return write_keys(tmp_path / "keys.json", made("alice"), made("bob"))


@pytest.fixture
def site(make_site: MakeSite, keys_file: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr("llama4coder.keys.key_store._LOOK_EVERY_S", 0.0)
    slow = FakeBackend(Script(token_ids=[10] * 60, delay_s=0.02))
    return make_site(keys_file=str(keys_file), backend=slow)


async def start(site: Site, path: str, key: str, *, stream: bool) -> "asyncio.Task[httpx.Response]":
    body = dict(BODIES[path]) | {"stream": stream}
    num_before = len(site.backend.requests)
    asking = asyncio.create_task(site.client.post(path, json=body, headers={"authorization": f"Bearer {key}"}))
    while len(site.backend.requests) == num_before:
        assert not asking.done()
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.1)
    assert not asking.done()
    return asking


@pytest.mark.parametrize("path", BODIES)
async def test_a_stream_ends_with_the_dialects_error(site: Site, keys_file: Path, path: str) -> None:
    alice, bob = await start(site, path, "alice", stream=True), await start(site, path, "bob", stream=True)
    change_keys(keys_file, lambda keys: with_revoked(keys, "alice", LONG_AGO))
    answer = await alice
    assert answer.status_code == 200
    assert SAYS in answer.text
    assert len(site.backend.aborted) == 1
    assert SAYS not in (await bob).text
    assert len(site.backend.aborted) == 1, "nobody else's"


@pytest.mark.parametrize("path", BODIES)
async def test_a_whole_answer_is_a_401(site: Site, keys_file: Path, path: str) -> None:
    alice = await start(site, path, "alice", stream=False)
    change_keys(keys_file, lambda keys: [key for key in keys if key.name != "alice"])
    assert (await alice).status_code == 401
    await site.backend.until_idle()


async def test_another_secret_under_the_name_is_another_key(site: Site, keys_file: Path) -> None:
    alice = await start(site, "/v1/completions", "alice", stream=False)
    other = msgspec.structs.replace(made("alice"), sha256=made("other").sha256)
    change_keys(keys_file, lambda keys: [other, *keys[1:]])
    assert (await alice).status_code == 401


async def test_what_began_before_its_key_expired_goes_on(site: Site, keys_file: Path) -> None:
    alice = await start(site, "/v1/completions", "alice", stream=False)
    change_keys(keys_file, lambda keys: [made("alice", expires=LONG_AGO), *keys[1:]])
    assert (await alice).status_code == 200
    again = await site.client.post("/v1/completions", json=BODIES["/v1/completions"], headers={"x-api-key": "alice"})
    assert again.status_code == 401
