"""A client may insist on a name: every dialect takes the model's own and its aliases."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest

from llama4coder.tokenizer.tokenizer import Tokenizer
from tests.server.fim_site import SPECIALS
from tests.server.serving import MODEL, MakeSite, Site

NAMES = ("org/tiny", "tiny", "claude-sonnet-4-5", "gpt-5", "gpt-5:latest")
TURNS = [{"role": "user", "content": "hi"}]
BODIES: Mapping[str, Mapping[str, object]] = {
    "/v1/chat/completions": {"messages": TURNS},
    "/v1/completions": {"prompt": "hi"},
    "/beta/completions": {"prompt": "a", "suffix": "b"},
    "/v1/responses": {"input": "hi"},
    "/v1/responses/input_tokens": {"input": "hi"},
    "/v1/fim/completions": {"prompt": "a", "suffix": "b"},
    "/infill": {"input_prefix": "a", "input_suffix": "b"},
    "/v1/messages": {"max_tokens": 5, "messages": TURNS},
    "/v1/messages/count_tokens": {"messages": TURNS},
    "/api/chat": {"messages": TURNS, "stream": False},
    "/api/generate": {"prompt": "hi", "stream": False},
    "/api/show": {},
    "/tokenize": {"prompt": "hi"},
    "/detokenize": {"tokens": [5]},
}


@pytest.fixture
def renamed(make_site: MakeSite, tokenizer_of_coder: Tokenizer) -> Site:
    aliases = ("tiny", "claude-sonnet-4-5", "gpt-5")
    model = replace(MODEL, aliases=aliases, vocab_size=MODEL.vocab_size + len(SPECIALS))
    return make_site(tokenizer=tokenizer_of_coder, model=model)


async def ask(site: Site, path: str, name: str) -> httpx.Response:
    return await site.client.post(path, json={"model": name, **BODIES[path]})


@pytest.mark.parametrize("path", BODIES)
async def test_every_name_means_the_model(renamed: Site, path: str) -> None:
    for name in NAMES:
        response = await ask(renamed, path, name)
        assert response.status_code == 200, response.text
    assert (await ask(renamed, path, "gpt-6")).status_code == 404


async def test_aliases_are_listed_and_looked_up_under_their_own_names(renamed: Site) -> None:
    listed = {model["id"]: model for model in (await renamed.client.get("/v1/models")).json()["data"]}
    assert list(listed) == [MODEL.name, *("tiny", "claude-sonnet-4-5", "gpt-5")]
    for name, model in listed.items():
        assert model["root"] == MODEL.name
        assert (await renamed.client.get(f"/v1/models/{name}")).json() == model
    found: dict[str, Any] = (await renamed.client.get("/v1/models/org%2Ftiny")).json()
    assert found["id"] == MODEL.name
    missing = await renamed.client.get("/v1/models/gpt-6")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
    tags = (await renamed.client.get("/api/tags")).json()["models"]
    assert [model["name"] for model in tags] == list(listed)
