"""`/infill` as llama.cpp's server has it, and as llama.vim and llama.vscode call it."""

import json
from typing import Any

import httpx
import pytest

from llama4coder.errors import Overloaded
from llama4coder.tokenizer.tokenizer import Tokenizer
from tests.server.fim_site import fim_site
from tests.server.serving import MODEL, MakeSite, Site, listening
from tests.support.fake_backend import Script

HOLE = {"input_prefix": "def add(", "input_suffix": "):\n    pass\n"}
# Word for word what llama.vim sends, but for the texts.
LLAMA_VIM = {
    "input_prefix": "import sys\n",
    "input_suffix": "\nmain()\n",
    "input_extra": [{"text": "A = 1\n", "time": [0, 1], "filename": "a.py"}, {"text": "B", "time": [], "filename": ""}],
    "prompt": "def ",
    "n_predict": 20,
    "n_indent": 0,
    "top_k": 40,
    "top_p": 0.99,
    "stream": False,
    "samplers": ["top_k", "top_p", "infill"],
    "cache_prompt": True,
    "t_max_prompt_ms": 500,
    "t_max_predict_ms": 1500,
    "response_fields": ["content", "timings/prompt_n", "timings/predicted_n", "truncated", "tokens_cached", "no/such"],
}
WARM_UP = LLAMA_VIM | {
    "input_prefix": "",
    "input_suffix": "",
    "prompt": "",
    "n_predict": 0,
    "temperature": 0.0,
    "samplers": [],
    "t_max_prompt_ms": 1,
    "t_max_predict_ms": 1,
    "response_fields": [""],
}


async def infill(site: Site, **fields: object) -> httpx.Response:
    return await site.client.post("/infill", json=HOLE | fields)


def parts_of(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.headers["content-type"].startswith("text/event-stream")
    frames = [frame for frame in response.text.split("\n\n") if frame]
    return [json.loads(frame.removeprefix("data: ")) for frame in frames]


async def test_a_whole_reply(coder: Site) -> None:
    coder.backend.script = Script(coder.ids("a, b\n"), num_cached_tokens=3)
    reply = (await infill(coder, model="tiny", return_tokens=True)).json()
    prompt = coder.ids("<|fim_prefix|>def add(<|fim_suffix|>):\n    pass\n<|fim_middle|>")
    assert list(coder.backend.requests[0].prompt_token_ids) == prompt
    timings = reply.pop("timings")
    assert reply == {
        "index": 0,
        "content": "a, b\n",
        "tokens": coder.ids("a, b\n"),
        "stop": True,
        "model": "org/tiny",
        "tokens_predicted": len(coder.ids("a, b\n")),
        "tokens_evaluated": len(prompt),
        "has_new_line": True,
        "truncated": False,
        "stop_type": "eos",
        "stopping_word": "",
        "tokens_cached": 3,
    }
    assert (timings["cache_n"], timings["prompt_n"]) == (3, len(prompt) - 3)
    assert timings["predicted_n"] == len(coder.ids("a, b\n"))
    assert timings["prompt_ms"] > 0 and timings["predicted_ms"] > 0


async def test_what_llama_vim_sends(coder: Site) -> None:
    coder.backend.script = Script(coder.ids("main():"))
    reply = (await coder.client.post("/infill", json=LLAMA_VIM)).json()
    (request,) = coder.backend.requests
    assert coder.tokenizer.decode(request.prompt_token_ids, skip_special=False) == (
        "<|repo_name|>repository\n<|file_sep|>a.py\nA = 1\n<|file_sep|>untitled\nB\n<|file_sep|>untitled\n"
        "<|fim_prefix|>import sys\n<|fim_suffix|>\nmain()\n<|fim_middle|>def "
    )
    assert reply == {
        "content": "main():",
        "timings/prompt_n": len(request.prompt_token_ids),
        "timings/predicted_n": len(coder.ids("main():")),
        "truncated": False,
        "tokens_cached": 0,
    }
    assert (request.sampling.temperature, request.stop.max_tokens) == (0, 20)


async def test_nothing_is_generated_to_warm_the_cache(coder: Site) -> None:
    """llama.vim does it in the background, with files and no hole."""
    response = await coder.client.post("/infill", json=WARM_UP)
    assert (response.status_code, response.json()) == (200, {})
    (request,) = coder.backend.requests
    assert request.stop.max_tokens == 0
    warmed = list(request.prompt_token_ids)
    await coder.client.post("/infill", json=LLAMA_VIM)
    later = list(coder.backend.requests[1].prompt_token_ids)
    assert later[: len(warmed) - 2] == warmed[:-2], (
        "all but the suffix and middle markers is the next prompt's beginning"
    )


async def test_an_empty_answer_is_whole(coder: Site) -> None:
    reply = (await infill(coder, n_predict=0)).json()
    assert (reply["content"], reply["stop_type"], reply["tokens_predicted"]) == ("", "limit", 0)


async def test_a_stream(coder: Site) -> None:
    coder.backend.script = Script(coder.ids("a, b"))
    *parts, last = parts_of(await infill(coder, stream=True))
    assert "".join(part["content"] for part in parts) == "a, b"
    assert [part["stop"] for part in (*parts, last)] == [False] * len(parts) + [True]
    assert parts[-1]["tokens_predicted"] == last["tokens_predicted"] == len(coder.ids("a, b"))
    assert [token_id for part in parts for token_id in part["tokens"]] == coder.ids("a, b")
    assert (last["content"], last["stop_type"], last["has_new_line"]) == ("", "eos", False)


async def test_response_fields_are_of_the_last_part(coder: Site) -> None:
    *parts, last = parts_of(await infill(coder, stream=True, response_fields=["stop", "timings/predicted_n"]))
    assert all("content" in part for part in parts)
    assert last == {"stop": True, "timings/predicted_n": 3}


@pytest.mark.parametrize("stream", [True, False])
async def test_why_it_ended(coder: Site, stream: bool) -> None:
    async def last(**fields: object) -> dict[str, Any]:
        response = await infill(coder, stream=stream, **fields)
        return parts_of(response)[-1] if stream else response.json()

    pad = coder.tokenizer.id_of("<|fim_pad|>")
    assert pad is not None
    coder.backend.script = Script([*coder.ids("a, b"), pad])
    ended = await last()
    assert (ended["stop_type"], ended["stopping_word"]) == ("eos", "")
    ended = await last(stop=["nothing", ",", ""])
    assert (ended["stop_type"], ended["stopping_word"]) == ("word", ",")
    assert (await last(n_predict=1))["stop_type"] == "limit"


async def test_a_line_outside_the_block_ends_it(coder: Site) -> None:
    coder.backend.script = Script(coder.ids("x = 1\n    y = 2\ndef other():\n"))
    reply = (await infill(coder, n_indent=4)).json()
    assert (reply["content"], reply["stop_type"]) == ("x = 1\n    y = 2", "limit")
    await coder.backend.until_idle()
    assert len(coder.backend.aborted) == 1


async def test_time_that_is_over_ends_it(coder: Site) -> None:
    coder.backend.script = Script(coder.ids("a\nb\nc\nd\ne\nf\n"), delay_s=0.03)
    reply = (await infill(coder, t_max_predict_ms=50)).json()
    assert reply["content"].startswith("a\n") and reply["content"] != "a\nb\nc\nd\ne\nf\n"
    assert reply["stop_type"] == "limit"


async def test_defaults_are_those_of_llama_cpp(coder: Site) -> None:
    await infill(coder)
    sampling = coder.backend.requests[0].sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (0.8, 40, 0.95, 0.05)
    assert coder.backend.requests[0].stop.max_tokens > 100


async def test_options_reach_the_backend(coder: Site) -> None:
    await infill(coder, temperature=-1, top_k=0, top_p=0.5, min_p=0.1, seed=7, n_predict=9, ignore_eos=True)
    (request,) = coder.backend.requests
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (0, 0, 0.5, 0.1)
    assert (request.seed, request.stop.max_tokens, request.stop.stop_token_ids) == (7, 9, frozenset())


async def test_samplers_that_are_not_listed_do_nothing(coder: Site) -> None:
    await infill(coder, temperature=0.3, samplers=["top_k", "min_p"])
    sampling = coder.backend.requests[0].sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (1, 40, 1, 0.05)


@pytest.mark.parametrize("seed", [-1, 0xFFFFFFFF])
async def test_seeds_that_mean_any(coder: Site, seed: int) -> None:
    for _ in range(2):
        await infill(coder, seed=seed)
    first, second = (request.seed for request in coder.backend.requests)
    assert first != second


async def test_what_does_not_fit_is_said(coder: Site) -> None:
    reply = (await infill(coder, input_prefix="0123456789" * 100, n_predict=5)).json()
    assert reply["truncated"] is True
    assert len(coder.backend.requests[0].prompt_token_ids) == 256 - 5


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"input_prefix": None}, "invalid_request_error", "input_prefix"),
        ({"n_predict": -2}, "invalid_request_error", "n_predict"),
        ({"n_predict": 257}, "exceed_context_size_error", "maximum context length"),
        ({"prompt": ["a"]}, "invalid_request_error", "prompt"),
        ({"input_extra": "x"}, "invalid_request_error", "input_extra"),
        ({"input_extra": [{"filename": "x"}]}, "invalid_request_error", r"input_extra[0].text"),
        ({"input_extra": [{"text": "x", "filename": "a\nb"}]}, "invalid_request_error", r"input_extra[0].filename"),
        ({"filename": "a\u2028b"}, "invalid_request_error", "one line"),
        ({"samplers": ["magic"]}, "invalid_request_error", "samplers[0]"),
        ({"samplers": "edkypmxt"}, "invalid_request_error", "samplers"),
        ({"grammar": "root ::= x"}, "not_supported_error", "grammar"),
        ({"lora": [{"id": 0, "scale": 0.5}]}, "not_supported_error", "lora"),
        ({"repeat_penalty": 1.1}, "not_supported_error", "repeat_penalty"),
        ({"stop": ["x"] * 1000}, "invalid_request_error", "stop strings"),
        ({"input_prefix": "\ud800"}, "invalid_request_error", "surrogate"),
    ],
)
async def test_errors_are_in_its_own_words(coder: Site, fields: dict[str, object], kind: str, words: str) -> None:
    content = json.dumps(HOLE | fields).encode()
    response = await coder.client.post("/infill", content=content)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["type"]) == (400, 400, kind)
    assert set(error) == {"code", "message", "type"} and words in error["message"]
    assert coder.backend.requests == []


async def test_neutral_values_of_what_is_not_supported_are_accepted(coder: Site) -> None:
    neutral = {"mirostat": 0, "typical_p": 1.0, "repeat_penalty": 1.0, "logit_bias": [], "grammar": "", "n_probs": 0}
    assert (await infill(coder, **neutral)).status_code == 200


async def test_models_without_the_tokens_say_so(site: Site) -> None:
    response = await infill(site)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "not_supported_error"


async def test_other_models_are_not_served(coder: Site) -> None:
    response = await infill(coder, model="other")
    assert (response.status_code, response.json()["error"]["type"]) == (404, "not_found_error")


async def test_a_full_queue_says_when_to_come_back(coder: Site) -> None:
    coder.backend.script = Script(refusal=Overloaded("full", 3))
    response = await infill(coder)
    assert (response.status_code, response.headers["retry-after"]) == (429, "3")
    assert response.json()["error"]["type"] == "unavailable_error"


async def test_a_failure_in_a_stream_is_its_last_event(coder: Site) -> None:
    coder.backend.script = Script(range(10, 20), death=RuntimeError("secret"), death_after=2)
    *_, last = parts_of(await infill(coder, stream=True))
    assert last["error"]["code"] == 500 and last["error"]["type"] == "server_error"
    assert "secret" not in json.dumps(last)


async def test_a_failure_nobody_foresaw(make_site: MakeSite, tokenizer_of_coder: Tokenizer) -> None:
    site = fim_site(make_site, tokenizer_of_coder)
    site.backend.script = Script(refusal=RuntimeError("secret"))
    async with site.client:
        response = await infill(site)
    assert response.json() == {
        "error": {
            "code": 500,
            "message": "The server failed while it worked on this request.",
            "type": "server_error",
        }
    }


async def test_over_a_socket(coder: Site) -> None:
    """As curl calls it for llama.vim."""
    coder.backend.script = Script(coder.ids("main():"))
    async with listening(coder.app) as address, httpx.AsyncClient(base_url=address.url) as client:
        whole = await client.post("/infill", json=LLAMA_VIM)
        streamed = await client.post("/infill", json=LLAMA_VIM | {"stream": True, "response_fields": []})
    assert whole.json()["content"] == "main():"
    assert "".join(part["content"] for part in parts_of(streamed)) == "main():"
    assert coder.metric("requests_total", api="infill", model=MODEL.name, code="200") == 2
