"""`cut` on every endpoint that fills holes."""

from collections.abc import AsyncIterator

import pytest

from llama4coder.tokenizer.tokenizer import Tokenizer
from tests.server.fim_site import fim_site
from tests.server.serving import MakeSite, Site
from tests.support.fake_backend import Script

PREFIX, SUFFIX = "def f(x):\n    y = 1\n    ", "\n\nprint(f(1))\n"
RUNAWAY, KEPT = "return x\n\n\ndef g(", "return x"
BODIES: dict[str, dict[str, object]] = {
    "/v1/completions": {"model": "tiny", "prompt": PREFIX, "suffix": SUFFIX},
    "/v1/fim/completions": {"model": "tiny", "prompt": PREFIX, "suffix": SUFFIX},
    "/infill": {"input_prefix": "def f(x):\n    y = 1\n", "prompt": "    ", "input_suffix": SUFFIX},
}
EVERYWHERE = pytest.mark.parametrize("path", BODIES)


@pytest.fixture
async def coder(make_site: MakeSite, tokenizer_of_coder: Tokenizer) -> AsyncIterator[Site]:
    site = fim_site(make_site, tokenizer_of_coder)
    site.backend.script = Script(site.ids(RUNAWAY))
    async with site.client:
        yield site


async def text(site: Site, path: str, **fields: object) -> str:
    response = await site.client.post(path, json=BODIES[path] | fields)
    assert response.status_code == 200, response.text
    reply = response.json()
    if path == "/infill":
        return str(reply["content"])
    (choice,) = reply["choices"]
    return str(choice["message"]["content"] if "message" in choice else choice["text"])


@EVERYWHERE
@pytest.mark.parametrize(
    "told", [{"language": "python"}, {"filename": "a.py"}, {"filename": "a.c", "language": "python"}]
)
async def test_a_runaway_answer_is_cut(coder: Site, path: str, told: dict[str, str]) -> None:
    assert await text(coder, path) == RUNAWAY
    assert await text(coder, path, cut="syntax", **told) == KEPT
    assert await text(coder, path, **told) == RUNAWAY


@EVERYWHERE
async def test_a_stream_cannot_be_cut(coder: Site, path: str) -> None:
    body = BODIES[path] | {"cut": "syntax", "language": "python", "stream": True}
    response = await coder.client.post(path, json=body)
    assert response.status_code == 400
    assert "stream" in response.json()["error"]["message"]
    assert coder.backend.requests == []


@EVERYWHERE
@pytest.mark.parametrize("told", [{}, {"language": "cobol"}, {"filename": "Makefile"}])
async def test_the_language_must_be_known(coder: Site, path: str, told: dict[str, str]) -> None:
    response = await coder.client.post(path, json=BODIES[path] | {"cut": "syntax"} | told)
    assert response.status_code == 400
    assert "python" in response.json()["error"]["message"]
    assert coder.backend.requests == []


@EVERYWHERE
async def test_other_cuts_are_unknown(coder: Site, path: str) -> None:
    response = await coder.client.post(path, json=BODIES[path] | {"cut": "line"})
    assert response.status_code == 400


async def test_each_choice_is_cut_and_ends(coder: Site) -> None:
    response = await coder.complete(prompt=[PREFIX, "x = "], suffix=SUFFIX, n=2, cut="syntax", language="python")
    choices = response.json()["choices"]
    assert [choice["text"] for choice in choices] == [KEPT] * 2 + [choices[2]["text"]] * 2
    assert [choice["finish_reason"] for choice in choices] == ["stop"] * 4


async def test_what_was_cut_off_has_been_generated(coder: Site) -> None:
    coder.backend.script = Script(coder.ids(RUNAWAY))
    response = await coder.complete(prompt=PREFIX, suffix=SUFFIX, cut="syntax", language="python", max_tokens=5)
    assert response.json()["usage"]["completion_tokens"] == 5


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/completions", {"logprobs": 1}),
        ("/v1/completions", {"suffix": None}),
        ("/v1/fim/completions", {"suffix": None}),
        ("/infill", {"return_tokens": True}),
    ],
)
async def test_what_it_does_not_go_together_with(coder: Site, path: str, fields: dict[str, object]) -> None:
    body = BODIES[path] | {"cut": "syntax", "language": "python"} | fields
    response = await coder.client.post(path, json=body)
    assert response.status_code == 400
    assert "'cut'" in response.json()["error"]["message"]
    assert coder.backend.requests == []


async def test_a_chat_is_not_cut(coder: Site) -> None:
    assert (await coder.chat(cut="syntax")).status_code == 400
