"""`/api/chat`: lines of JSON unless told otherwise, and one vocabulary of options."""

from datetime import datetime

import pytest

from llama4coder.errors import EngineDead, Overloaded, QueueTimeout
from llama4coder.types import FinishReason
from tests.server.ollama.calls import TEXT, USER, chat, generate, lines, prompt_text
from tests.server.serving import MakeSite, Site
from tests.support.fake_backend import Script

COUNTS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")


async def test_a_stream_is_the_default(site: Site) -> None:
    site.backend.script = Script(site.ids(TEXT), num_cached_tokens=4)
    *parts, last = lines(await chat(site))
    assert "".join(part["message"]["content"] for part in parts) == TEXT
    assert all((part["done"], part["message"]["role"], part["model"]) == (False, "assistant", "tiny") for part in parts)
    assert "done_reason" not in parts[0] and "eval_count" not in parts[0]
    assert (last["done"], last["done_reason"]) == (True, "stop")
    assert last["message"] == {"role": "assistant", "content": ""}
    assert last["prompt_eval_count"] == len(site.backend.requests[0].prompt_token_ids)
    assert last["eval_count"] == len(site.ids(TEXT))
    assert all(isinstance(last[name], int) for name in COUNTS)
    assert datetime.fromisoformat(last["created_at"]).tzinfo is not None


async def test_a_whole_reply(site: Site) -> None:
    site.backend.script = Script(site.ids(TEXT), first_delay_s=0.02, delay_s=0.01)
    reply = (await chat(site, stream=False)).json()
    assert reply["message"] == {"role": "assistant", "content": TEXT}
    assert (reply["done"], reply["done_reason"], reply["eval_count"]) == (True, "stop", len(site.ids(TEXT)))
    assert 20e6 < reply["prompt_eval_duration"] < 20e9
    assert reply["total_duration"] == pytest.approx(reply["prompt_eval_duration"] + reply["eval_duration"], abs=2)


@pytest.mark.parametrize("messages", [[], None])
@pytest.mark.parametrize("fields", [{}, {"stream": False}, {"keep_alive": 0}])
async def test_no_messages_only_load(site: Site, messages: object, fields: dict[str, object]) -> None:
    reply = (await chat(site, messages=messages, **fields)).json()
    assert (reply["done"], reply["done_reason"], reply["message"]["content"]) == (True, "load", "")
    assert site.backend.requests == []


async def test_turns_go_through_the_models_template(site: Site) -> None:
    turns = [
        {"role": "system", "content": "short"},
        USER,
        {"role": "assistant", "content": "yes", "thinking": "hm", "tool_calls": [], "images": []},
        USER,
    ]
    await chat(site, messages=turns)
    assert prompt_text(site) == (
        "<|im_start|>system\nshort<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n"
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )


async def test_an_assistant_at_the_end_begins_the_answer(site: Site) -> None:
    await chat(site, messages=[USER, {"role": "assistant", "content": "It is ("}])
    assert prompt_text(site) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nIt is ("


@pytest.mark.parametrize("call", [chat, generate])
async def test_options_reach_the_backend(site: Site, call: object) -> None:
    assert callable(call)
    options = {
        "temperature": 0.2,
        "top_k": 7,
        "top_p": 0.5,
        "min_p": 0.1,
        "seed": 9,
        "num_predict": 11,
        "num_ctx": 256,
        "repeat_penalty": 1.1,
        "presence_penalty": 0.3,
        "frequency_penalty": 0.4,
        "num_gpu": 99,
        "mirostat": 0,
        "tfs_z": 1.0,
        "typical_p": 1,
    }
    assert (await call(site, options=options, keep_alive="30m", think=False, format="", tools=[])).status_code == 200
    (request,) = site.backend.requests
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (0.2, 7, 0.5, 0.1)
    assert (sampling.repetition_penalty, sampling.presence_penalty, sampling.frequency_penalty) == (1.1, 0.3, 0.4)
    assert (request.seed, request.stop.max_tokens) == (9, 11)


@pytest.mark.parametrize("options", [None, {}, {"temperature": None, "top_k": None, "top_p": None, "num_ctx": None}])
async def test_the_defaults_are_ollamas(site: Site, options: object) -> None:
    assert (await chat(site, options=options)).status_code == 200
    sampling = site.backend.requests[0].sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (0.8, 40, 0.9, 0.0)
    assert sampling.repetition_penalty == 1.0


@pytest.mark.parametrize("num_predict", [-1, -2, 0, 10**12])
async def test_as_much_as_fits(site: Site, num_predict: int) -> None:
    site.backend.script = Script([10] * 300, finish_reason=FinishReason.LENGTH)
    last = lines(await chat(site, options={"num_predict": num_predict}))[-1]
    (request,) = site.backend.requests
    assert len(request.prompt_token_ids) + request.stop.max_tokens == 256
    assert last["done_reason"] == "length"


async def test_a_repeat_window_of_nothing_penalises_nothing(site: Site) -> None:
    await chat(site, options={"repeat_penalty": 1.3, "repeat_last_n": 0})
    assert site.backend.requests[0].sampling.repetition_penalty == 1.0


async def test_random_seeds_differ(site: Site) -> None:
    for _ in range(2):
        await chat(site, options={"seed": -1})
    assert site.backend.requests[0].seed != site.backend.requests[1].seed


@pytest.mark.parametrize("stop", ["first", ["nothing", "first"]])
async def test_a_stop_string_ends_it(site: Site, stop: object) -> None:
    site.backend.script = Script(site.ids(TEXT))
    reply = (await chat(site, stream=False, options={"stop": stop})).json()
    assert (reply["message"]["content"], reply["done_reason"]) == ("def add(", "stop")


@pytest.mark.parametrize("name", ["org/tiny", "tiny", "tiny:latest", "org/tiny:latest"])
async def test_names_with_and_without_a_tag(site: Site, name: str) -> None:
    assert (await chat(site, model=name, stream=False)).json()["model"] == name
    listed = (await site.client.post("/v1/chat/completions", json={"model": name, "messages": [USER]})).status_code
    assert listed == 200


@pytest.mark.parametrize("name", ["other", "tiny:7b", "latest", ":latest", ""])
@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/show"])
async def test_other_names_are_not_served(site: Site, path: str, name: str) -> None:
    response = await site.client.post(path, json={"model": name, "name": "", "prompt": "x", "messages": [USER]})
    assert response.status_code == (400 if path == "/api/show" and not name else 404)
    assert set(response.json()) == {"error"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"tools": [{"type": "function", "function": {"name": "f"}}]},
            "the chat template of this model knows no tools",
        ),
        ({"messages": [{"role": "user", "content": "x", "images": ["aGk="]}]}, "messages[0].images: this model cannot"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": "hi"}, "messages"),
        ({"format": {"type": "thing"}}, "the output cannot be held to 'format'"),
        ({"format": "xml"}, "'format'"),
        ({"format": 5}, "'format"),
        ({"think": True}, "'think'"),
        ({"think": "high"}, "'think'"),
        ({"think": "wildly"}, "'think"),
        ({"think": 1}, "'think"),
        ({"logprobs": True}, "'logprobs'"),
        ({"stream": "no"}, "stream"),
        ({"model": 5}, "model"),
        ({"options": 5}, "options"),
        ({"options": {"temperature": -1}}, "options.temperature"),
        ({"options": {"top_k": 1.5}}, "options.top_k"),
        ({"options": {"top_p": 2}}, "options.top_p"),
        ({"options": {"min_p": -1}}, "options.min_p"),
        ({"options": {"seed": 2**63}}, "options.seed"),
        ({"options": {"num_predict": -3}}, "options.num_predict"),
        ({"options": {"repeat_penalty": 0}}, "options.repeat_penalty"),
        ({"options": {"presence_penalty": 3}}, "options.presence_penalty"),
        ({"options": {"mirostat": 2}}, "options.mirostat"),
        ({"options": {"tfs_z": 0.5}}, "options.tfs_z"),
        ({"options": {"typical_p": 0.5}}, "options.typical_p"),
        ({"options": {"stop": [5]}}, "options.stop[0]"),
        ({"options": {"num_ctx": 512}}, "'num_ctx' asks for a context of 512 tokens; this deployment serves 256"),
    ],
)
async def test_bad_values_are_named(site: Site, fields: dict[str, object], words: str) -> None:
    response = await chat(site, **fields)
    assert response.status_code == 400
    assert set(response.json()) == {"error"}
    assert words in response.json()["error"]
    assert site.backend.requests == []


async def test_too_long_a_prompt_says_both_numbers(site: Site) -> None:
    response = await chat(site, messages=[{"role": "user", "content": "word " * 400}])
    assert response.status_code == 400
    assert "maximum context length is 256 tokens" in response.json()["error"]


async def test_models_without_a_template_say_so(make_site: MakeSite) -> None:
    response = await chat(make_site(has_template=False))
    assert response.status_code == 400
    assert "no chat template" in response.json()["error"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("refusal", "status", "retry_after"),
    [
        (Overloaded("full", 2.3), 429, "3"),
        (QueueTimeout("no room", 41.2), 503, "42"),
        (RuntimeError("secret"), 500, None),
    ],
)
async def test_refusals(site: Site, stream: bool, refusal: Exception, status: int, retry_after: str | None) -> None:
    site.backend.script = Script(refusal=refusal)
    response = await chat(site, stream=stream)
    assert (response.status_code, response.headers.get("retry-after")) == (status, retry_after)
    assert set(response.json()) == {"error"}
    assert "secret" not in response.text


@pytest.mark.parametrize("death", [EngineDead("the engine has failed"), RuntimeError("secret")])
async def test_a_failure_midway_is_the_last_line(site: Site, death: Exception) -> None:
    site.backend.script = Script(range(10, 20), death=death, death_after=2)
    response = await chat(site)
    *parts, last = lines(response)
    assert set(last) == {"error"} and "failed" in last["error"]
    assert not any(part["done"] for part in parts)
    assert "secret" not in response.text
    assert (await chat(site, stream=False)).status_code in (500, 503)


async def test_silence_is_filled_with_white_space_within_lines(make_site: MakeSite) -> None:
    site = make_site(keep_alive_s=0.03)
    site.backend.script = Script([10, 11], first_delay_s=0.1, delay_s=0.1)
    response = await chat(site)
    assert response.text.startswith("  ")
    assert lines(response)[-1]["done"]
