"""`/v1/fim/completions` as Mistral's client calls it: a hole in, a chat's reply out."""

import httpx
import pytest

from tests.server.serving import Site, events_of, listening
from tests.support.fake_backend import Script

PATH = "/v1/fim/completions"


async def fill(site: Site, **fields: object) -> httpx.Response:
    return await site.client.post(PATH, json={"model": "tiny", "prompt": "def add(", "suffix": "): pass"} | fields)


async def test_a_whole_reply(coder: Site) -> None:
    coder.backend.script = Script(coder.ids("a, b"))
    reply = (await fill(coder)).json()
    (request,) = coder.backend.requests
    prompt = coder.ids("<|fim_prefix|>def add(<|fim_suffix|>): pass<|fim_middle|>")
    assert list(request.prompt_token_ids) == prompt
    assert (reply["object"], reply["model"]) == ("chat.completion", "org/tiny")
    (choice,) = reply["choices"]
    assert choice["message"]["content"] == "a, b"
    assert (choice["message"]["role"], choice["finish_reason"], choice["index"]) == ("assistant", "stop", 0)
    assert reply["usage"]["prompt_tokens"] == len(prompt)
    assert reply["usage"]["completion_tokens"] == len(coder.ids("a, b"))


async def test_a_stream(coder: Site) -> None:
    coder.backend.script = Script(coder.ids("a, b"))
    events = events_of(await fill(coder, stream=True))
    assert "".join(event["choices"][0]["delta"]["content"] for event in events) == "a, b"
    assert [event["choices"][0]["finish_reason"] for event in events] == [None] * (len(events) - 1) + ["stop"]
    assert events[-1]["usage"]["completion_tokens"] == len(coder.ids("a, b"))
    assert len({event["id"] for event in events}) == 1


async def test_options_reach_the_backend(coder: Site) -> None:
    await fill(coder, temperature=0.2, top_p=0.5, random_seed=7, max_tokens=9, min_tokens=2, stop=["x", "y"])
    (request,) = coder.backend.requests
    assert (request.sampling.temperature, request.sampling.top_p, request.seed) == (0.2, 0.5, 7)
    assert (request.stop.max_tokens, request.stop.min_tokens) == (9, 2)


async def test_a_stop_string_ends_it(coder: Site) -> None:
    coder.backend.script = Script(coder.ids("a, b"))
    (choice,) = (await fill(coder, stop=",")).json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("a", "stop")


async def test_the_default_temperature_is_that_of_mistral(coder: Site) -> None:
    await fill(coder)
    assert coder.backend.requests[0].sampling.temperature == 0.7


async def test_without_a_suffix_it_goes_on(coder: Site) -> None:
    assert (await fill(coder, suffix=None)).status_code == 200
    assert list(coder.backend.requests[0].prompt_token_ids) == coder.ids("def add(")


async def test_files_come_along(coder: Site) -> None:
    await fill(coder, input_extra=[{"filename": "a.py", "text": "A = 1"}], filename="b.py")
    text = coder.tokenizer.decode(coder.backend.requests[0].prompt_token_ids, skip_special=False)
    assert text == (
        "<|repo_name|>repository\n<|file_sep|>a.py\nA = 1\n<|file_sep|>b.py\n"
        "<|fim_prefix|>def add(<|fim_suffix|>): pass<|fim_middle|>"
    )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ["a"]}, "prompt"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"random_seed": -1}, "random_seed"),
        ({"stop": [""]}, "stop[0]"),
        ({"suffix": None, "input_extra": [{"text": "x"}]}, "input_extra"),
        ({"suffix": None, "filename": "x.py"}, "filename"),
        ({"input_extra": [{"text": "x", "filename": "a\rb"}]}, "input_extra[0].filename"),
    ],
)
async def test_bad_values_are_named(coder: Site, fields: dict[str, object], param: str) -> None:
    response = await fill(coder, **fields)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert coder.backend.requests == []


async def test_other_models_are_not_served(coder: Site) -> None:
    assert (await fill(coder, model="other")).status_code == 404


async def test_models_without_the_tokens_say_so(site: Site) -> None:
    response = await fill(site)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "fim_unsupported")


async def test_a_failure_in_a_stream_is_an_event(coder: Site) -> None:
    coder.backend.script = Script(range(10, 20), death=RuntimeError("secret"), death_after=2)
    events = events_of(await fill(coder, stream=True))
    assert events[-1]["error"]["type"] == "server_error"


async def test_over_a_socket(coder: Site) -> None:
    coder.backend.script = Script(coder.ids("a, b"))
    async with listening(coder.app) as address, httpx.AsyncClient(base_url=address.url) as client:
        body = {"model": "tiny", "prompt": "def add(", "suffix": "): pass"}
        whole, streamed = await client.post(PATH, json=body), await client.post(PATH, json=body | {"stream": True})
    assert whole.json()["choices"][0]["message"]["content"] == "a, b"
    assert "".join(event["choices"][0]["delta"]["content"] for event in events_of(streamed)) == "a, b"
    assert coder.metric("requests_total", api="fim", model="org/tiny", code="200") == 2
