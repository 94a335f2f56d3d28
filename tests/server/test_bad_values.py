"""Whatever is wrong with a body is a 400 that names it, and the server goes on serving."""

import json
from collections.abc import Mapping

import httpx
import pytest

from tests.server.serving import Site
from tests.support.fake_backend import Script

HUGE = 10**40

# A field -> values that are wrong for it in chats and in completions alike.
BAD_VALUES: Mapping[str, list[object]] = {
    "model": [None, 5, ["tiny"]],
    "n": [0, -1, 1.5, "2", True, 17, HUGE],
    "stream": ["yes", 1, "true"],
    "stream_options": ["usage", {"include_usage": "yes"}, {"include_usage": True}],
    "temperature": [-0.1, 2.1, "1", True, [1], HUGE],
    "top_p": [0, -1, 1.1, "0.5", False],
    "top_k": [-2, 1.5, "5", True],
    "min_p": [-0.1, 1.1, "0"],
    "presence_penalty": [-2.1, 2.1, "0", True],
    "frequency_penalty": [-2.1, 2.1, {}],
    "repetition_penalty": [0, -1, 10.1, "1"],
    "logit_bias": [[1], "x", {"a": 1}, {"1": "a"}, {"1": 101}, {"1": True}, {"1": None}, {"1" * 30: 1}, {"-1": 1}],
    "seed": [2**63, -(2**63) - 1, 1.5, "1", True, HUGE],
    "stop": [5, [5], [""], "", [["a"]], {"a": 1}, [str(number) for number in range(10_000)], [None]],
    "stop_token_ids": [5, ["5"], [True], [-1], [400], [HUGE]],
    "min_tokens": [-1, "1", 1.5, True, 300, HUGE],
    "ignore_eos": ["yes", 1],
    "prediction": [
        "x",
        5,
        [],
        {},
        {"type": "content"},
        {"content": "x"},
        {"type": "text", "content": "x"},
        {"type": "content", "content": None},
        {"type": "content", "content": 5},
        {"type": "content", "content": ["x"]},
        {"type": "content", "content": [{"type": "text"}]},
        {"type": "content", "content": "x" * 200_000},
    ],
    "speculation": ["no", 0, {}],
    "cache_salt": ["", "x" * 257, 5, ["x"], True],
    "priority": ["urgent", "", 0, 5, True, ["batch"]],
    "service_tier": ["scale", "fast", "", 0, True, {}],
    "top_blocks": [3, 0, -1, "8", 8.5, True, [8], HUGE],
    "max_tokens": [-1, 1.5, "5", True, [5], HUGE],
}
BAD_CHATS: Mapping[str, list[object]] = {
    "messages": [
        None, [], "hi", {}, [5], [[]], [{}], [{"role": "user"}], [{"content": "hi"}],
        [{"role": "usr", "content": "hi"}], [{"role": 5, "content": "hi"}], [{"role": "user", "content": None}],
        [{"role": "user", "content": 5}], [{"role": "user", "content": ["hi"]}],
        [{"role": "user", "content": [{"type": "text"}]}], [{"role": "user", "content": [{"text": "hi"}]}],
        [{"role": "user", "content": [{"type": 5}]}], [{"role": "user", "content": "hi", "name": 5}],
    ],
    "max_tokens": [0],
    "max_completion_tokens": [0, -1, "5", True, HUGE],
    "logprobs": [1, "true"],
    "top_logprobs": [-1, 1, 21, "2", True],
    "add_generation_prompt": ["no"],
}  # fmt: skip
BAD_COMPLETIONS: Mapping[str, list[object]] = {
    "prompt": [
        None, "", [], [""], [[]], 5, {}, True, [True], [1.5], ["a", 1], [1, "a"], [[1], "a"], [["a"]], [[1.5]],
        [-1], [400], [HUGE], [[1], [400]], [None], ["a"] * 17,
    ],
    "max_tokens": [0],
    "logprobs": [-1, 21, "1", True, HUGE],
    "echo": ["yes", 1],
    "best_of": [0, "1"],
    "suffix": [5, ["x"], True],
}  # fmt: skip
UNSUPPORTED: Mapping[str, object] = {
    "chat_template_kwargs": {"wide": True},
    "functions": [{"name": "f"}],
    "function_call": {"name": "f"},
    "audio": {"voice": "v"},
    "modalities": ["text", "audio"],
    "best_of": 2,
    "guided_json": {"not": {}},
    "guided_whitespace_pattern": " ",
    "reasoning_effort": "high",
    "web_search_options": {"user_location": None},
    "use_beam_search": True,
    "length_penalty": 0.5,
    "prompt_logprobs": 1,
    "logit_bias": {"400": 1},
}


def _cases(table: Mapping[str, list[object]]) -> list[object]:
    return [
        pytest.param(field, value, id=f"{field}-{json.dumps(value)[:30]}")
        for field, values in table.items()
        for value in values
    ]


async def _check(site: Site, response: httpx.Response, field: str) -> None:
    assert response.status_code in (400, 404), response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    same_thing = {"max_tokens": ("messages", "prompt"), "max_completion_tokens": ("messages",), "n": ("prompt",)}
    named = (field, *same_thing.get(field, ()), *(("logprobs",) if field == "top_logprobs" else ()))
    assert error["param"].split("[")[0].split(".")[0] in (*named, "n" if field == "prompt" else field)
    assert site.backend.requests == []


@pytest.mark.parametrize(("field", "value"), _cases(BAD_VALUES) + _cases(BAD_CHATS))
async def test_bad_chats(site: Site, field: str, value: object) -> None:
    await _check(site, await site.chat(**{field: value}), field)
    assert (await site.chat()).status_code == 200


@pytest.mark.parametrize(("field", "value"), _cases(BAD_VALUES) + _cases(BAD_COMPLETIONS))
async def test_bad_completions(site: Site, field: str, value: object) -> None:
    await _check(site, await site.complete(**{field: value}), field)
    assert (await site.complete()).status_code == 200


@pytest.mark.parametrize(("field", "value"), UNSUPPORTED.items())
async def test_unsupported_options_are_named(site: Site, field: str, value: object) -> None:
    for response in (await site.chat(**{field: value}), await site.complete(**{field: value})):
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (400, "unsupported_option", field)
        assert field in error["message"]
    assert site.backend.requests == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "content"),
        ({"messages": [{"role": "assistant", "content": "", "function_call": {"name": "x"}}]}, "function_call"),
        ({"stream": True, "stream_options": {"continuous_usage_stats": True}}, "continuous_usage_stats"),
    ],
)
async def test_unsupported_options_deeper_in_are_named_with_their_path(
    site: Site, fields: dict[str, object], param: str
) -> None:
    error = (await site.chat(**fields)).json()["error"]
    assert error["code"] == "unsupported_option"
    assert error["param"].endswith(f".{param}")
    assert param != "content" or "cannot see images" in error["message"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"{", "JSON"),
        (b'{"model": "tiny"', "JSON"),
        (b"model=tiny&prompt=x", "JSON"),
        (b"\xff\xfe{}", "JSON"),
        (b'{"model": "t\xffny"}', "UTF-8"),
        (b'{"prompt": "\\ud800"}', "JSON"),
        (b'{"temperature": NaN}', "JSON"),
        (b'{"temperature": Infinity}', "JSON"),
        (b'{"ignored": -Infinity}', "JSON"),
        (b'{"temperature": 1e999}', "JSON"),
        (b'{"seed": ' + b"9" * 10_000 + b"}", "JSON"),
        (b"[" * 100_000, "nested"),
        (b'{"a":' * 100_000, "nested"),
        (b"{} {}", "JSON"),
        (b"[]", "an array"),
        (b'"text"', "a string"),
        (b"5", "a number"),
        (b"true", "a boolean"),
        (b"null", "null"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"])
async def test_broken_bodies(site: Site, path: str, body: bytes, words: str) -> None:
    response = await site.client.post(path, content=body)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert words in response.json()["error"]["message"]
    assert (await site.complete()).status_code == 200


async def test_compressed_bodies_are_refused_in_words(site: Site) -> None:
    response = await site.client.post("/v1/completions", content=b"x", headers={"content-encoding": "gzip"})
    assert response.status_code == 400
    assert "compressed" in response.json()["error"]["message"]


async def test_a_million_wrong_items_are_one_quick_error(site: Site) -> None:
    assert (await site.chat(stop=[1] * 200_000)).json()["error"]["param"] == "stop[0]"
    assert (await site.chat(messages=[{"role": "x"}] * 200_000)).json()["error"]["param"] == "messages[0].role"
    assert (await site.complete(prompt=[[1.5]] * 200_000)).json()["error"]["param"] == "prompt"


async def test_unknown_models(site: Site) -> None:
    for response in (await site.chat(model="gpt-4"), await site.complete(model="gpt-4")):
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "model_not_found"
        assert response.json()["error"]["param"] == "model"


async def test_too_much_for_the_context_says_both_numbers(site: Site) -> None:
    num_prompt_tokens = len(site.ids("def add"))
    error = (await site.complete(max_tokens=300)).json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert error["message"] == (
        f"This model's maximum context length is 256 tokens. However, you requested {num_prompt_tokens + 300} tokens "
        f"({num_prompt_tokens} in the prompt, 300 in the completion)."
    )
    error = (await site.complete(prompt=[5] * 256)).json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert "256 tokens" in error["message"]
    assert (await site.complete(prompt=[5] * 255)).status_code == 200
    assert site.metric("admission_rejections_total", reason="too_long") == 2


async def test_what_can_never_fit_is_refused_before_it_is_tokenised(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(*args: object, **kwargs: object) -> list[int]:
        raise AssertionError("tokenised")

    monkeypatch.setattr(site.tokenizer, "encode", encode)
    text = "a" * (257 * 512)
    for response in (
        await site.complete(prompt=text),
        await site.complete(prompt=["def", text][::-1]),
        await site.chat(messages=[{"role": "user", "content": text}]),
    ):
        assert response.json()["error"]["code"] == "context_length_exceeded"


async def test_no_error_repeats_what_the_client_wrote(site: Site) -> None:
    secret = "s3cr3t"
    site.backend.script = Script(refusal=RuntimeError(secret))
    for fields in (
        {"messages": [{"role": secret, "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": secret}]}]},
        {"messages": [{"role": "user", "content": secret}], "temperature": secret},
        {"messages": [{"role": "user", "content": secret}], "logit_bias": {secret: 1}},
        {"messages": [{"role": "user", "content": secret * 400}]},
        {"messages": [{"role": "user", "content": secret}]},
    ):
        response = await site.chat(**fields)
        assert response.status_code >= 400
        assert secret not in response.text
