"""Chats: replies, streams, log-probabilities, seeds."""

import threading

import pytest

from llama4coder.types import FinishReason
from tests.server.serving import MODEL, MakeSite, Site, events_of
from tests.support.fake_backend import Script

TEXT = "def add(first, second):"


async def test_a_reply(site: Site) -> None:
    site.backend.script = Script(site.ids(TEXT), num_cached_tokens=5)
    reply = (await site.chat()).json()
    prompt = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    num_prompt_tokens, num_output_tokens = len(site.ids(prompt)), len(site.ids(TEXT))
    assert site.backend.requests[0].prompt_token_ids == tuple(site.ids(prompt))
    assert reply["id"].startswith("chatcmpl-")
    assert reply["object"] == "chat.completion"
    assert reply["model"] == "org/tiny"
    assert reply["system_fingerprint"] is None
    assert reply["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": TEXT, "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert reply["usage"] == {
        "prompt_tokens": num_prompt_tokens,
        "completion_tokens": num_output_tokens,
        "total_tokens": num_prompt_tokens + num_output_tokens,
        "prompt_tokens_details": {"cached_tokens": 5},
        "completion_tokens_details": {"accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
    }


async def test_absent_max_tokens_is_as_much_as_fits(site: Site) -> None:
    for fields in ({}, {"max_tokens": None}):
        await site.chat(**fields)
        request = site.backend.requests[-1]
        assert request.stop.max_tokens == MODEL.context_length - len(request.prompt_token_ids)


async def test_length_is_a_reason(site: Site) -> None:
    reply = (await site.chat(max_completion_tokens=2)).json()
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] == 2


async def test_every_option_reaches_the_backend(site: Site) -> None:
    await site.chat(
        max_tokens=9, min_tokens=2, temperature=0.5, top_k=4, top_p=0.9, min_p=0.1, presence_penalty=1,
        frequency_penalty=-1, repetition_penalty=1.5, logit_bias={"7": -100, "8": 2.5}, stop_token_ids=[11], seed=-1,
        logprobs=True, top_logprobs=3,
    )  # fmt: skip
    request = site.backend.requests[0]
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (0.5, 4, 0.9, 0.1)
    assert (sampling.presence_penalty, sampling.frequency_penalty, sampling.repetition_penalty) == (1, -1, 1.5)
    assert sampling.logit_bias == {7: -100, 8: 2.5}
    assert (sampling.num_logprobs, sampling.num_prompt_logprobs) == (3, None)
    assert (request.stop.max_tokens, request.stop.min_tokens) == (9, 2)
    assert request.stop.stop_token_ids == {2, 11}
    assert request.seed == 2**64 - 1


async def test_ignore_eos_leaves_the_clients_own_stop_tokens(site: Site) -> None:
    await site.chat(ignore_eos=True, stop_token_ids=[11])
    assert site.backend.requests[0].stop.stop_token_ids == {11}


async def test_choices_have_seeds_of_their_own_and_the_same_ones_again(site: Site) -> None:
    for _ in range(2):
        reply = (await site.chat(n=3, seed=2**63 - 1)).json()
        assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2]
    seeds = [request.seed for request in site.backend.requests]
    assert sorted(seeds[:3]) == sorted(seeds[3:]) == [2**63 - 1, 2**63, 2**63 + 1]
    assert len({request.request_id for request in site.backend.requests}) == 6


async def test_without_a_seed_every_request_is_different(site: Site) -> None:
    for _ in range(5):
        await site.chat()
    assert len({request.seed for request in site.backend.requests}) == 5


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([{"role": "developer", "content": "be brief"}], "<|im_start|>system\nbe brief<|im_end|>\n"),
        (
            [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
            "<|im_start|>user\nab<|im_end|>\n",
        ),
        ([{"role": "tool", "content": "3", "tool_call_id": "x"}], "<|im_start|>tool\n3<|im_end|>\n"),
        ([{"role": "assistant", "content": None, "name": "bob"}], "<|im_start|>assistant\n<|im_end|>\n"),
    ],
)
async def test_messages_become_the_templates_text(site: Site, messages: list[object], text: str) -> None:
    response = await site.chat(messages=messages, add_generation_prompt=False)
    assert response.status_code == 200, response.text
    assert site.backend.requests[0].prompt_token_ids == tuple(site.ids(text))


async def test_harmless_hints_are_taken(site: Site) -> None:
    response = await site.chat(
        user="u", metadata={"a": "b"}, store=True, service_tier="auto", safety_identifier="s", prompt_cache_key="k",
        parallel_tool_calls=False, tools=[], tool_choice="auto", response_format={"type": "text"}, suffix=None,
        modalities=["text"], best_of=1, something_new={"x": 1}, logit_bias=None, stop=None, stream_options=None,
    )  # fmt: skip
    assert response.status_code == 200, response.text


async def test_logprobs(site: Site) -> None:
    site.backend.script = Script(site.ids("add"))
    token_id = site.ids("add")[0]
    choice = (await site.chat(logprobs=True, top_logprobs=2)).json()["choices"][0]
    other = site.tokenizer.token_text((token_id + 1) % 300)
    token = site.tokenizer.token_text(token_id)
    assert choice["logprobs"]["content"][0] == {
        "token": token,
        "logprob": -0.5,
        "bytes": list(token.encode()),
        "top_logprobs": [
            {"token": token, "logprob": -0.5, "bytes": list(token.encode())},
            {"token": other, "logprob": -1.5, "bytes": list(other.encode())},
        ],
    }


async def test_a_stream(site: Site) -> None:
    site.backend.script = Script(site.ids(TEXT), num_cached_tokens=3)
    events = events_of(await site.chat(stream=True, stream_options={"include_usage": True}))
    assert len({event["id"] for event in events}) == 1
    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    *chunks, last = events
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == len(site.ids(TEXT))
    assert last["usage"]["prompt_tokens_details"] == {"cached_tokens": 3}
    assert all(chunk["usage"] is None for chunk in chunks)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(delta.get("content", "") for delta in deltas) == TEXT
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["stop"]
    assert deltas[-1] == {}


async def test_a_stream_without_usage_never_speaks_of_it(site: Site) -> None:
    events = events_of(await site.chat(stream=True))
    assert all("usage" not in event for event in events)


async def test_a_streams_choices_are_interleaved_and_complete(site: Site) -> None:
    site.backend.script = Script(site.ids(TEXT), delay_s=0.002)
    events = events_of(await site.chat(stream=True, n=3))
    texts = {0: "", 1: "", 2: ""}
    order = []
    for event in events:
        choice = event["choices"][0]
        order.append(choice["index"])
        texts[choice["index"]] += choice["delta"].get("content", "")
    assert set(texts.values()) == {TEXT}
    assert order != sorted(order)


async def test_streamed_logprobs_cover_every_token(site: Site) -> None:
    site.backend.script = Script(site.ids("é" + TEXT), tokens_per_event=2)
    events = events_of(await site.chat(stream=True, logprobs=True))
    entries = [entry for event in events for entry in (event["choices"][0]["logprobs"] or {"content": []})["content"]]
    assert b"".join(bytes(entry["bytes"]) for entry in entries).decode() == "é" + TEXT


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("include", "expected"), [(False, "def add("), (True, "def add(first, sec")])
async def test_a_stop_string_ends_text_and_generation(site: Site, stream: bool, include: bool, expected: str) -> None:
    site.backend.script = Script(site.ids(TEXT * 20), delay_s=0.001)
    response = await site.chat(stop=["first, sec", "nowhere"], stream=stream, include_stop_str_in_output=include)
    if stream:
        choices = [event["choices"][0] for event in events_of(response)]
        text = "".join(choice["delta"].get("content", "") for choice in choices)
        reason = choices[-1]["finish_reason"]
    else:
        choice = response.json()["choices"][0]
        text, reason = choice["message"]["content"], choice["finish_reason"]
        assert response.json()["usage"]["completion_tokens"] <= len(site.ids(TEXT))
    assert (text, reason) == (expected, "stop")
    await site.backend.until_idle()
    assert len(site.backend.aborted) == 1


async def test_text_held_back_for_a_stop_string_comes_at_the_end(site: Site) -> None:
    site.backend.script = Script(site.ids("first, sec"), finish_reason=FinishReason.LENGTH)
    for stream in (False, True):
        response = await site.chat(stop=", second", stream=stream)
        if stream:
            text = "".join(event["choices"][0]["delta"].get("content", "") for event in events_of(response))
        else:
            text = response.json()["choices"][0]["message"]["content"]
        assert text == "first, sec"


async def test_special_tokens_are_shown_on_request(site: Site) -> None:
    site.backend.script = Script([*site.ids("add"), 2])
    assert (await site.chat()).json()["choices"][0]["message"]["content"] == "add"
    shown = await site.chat(skip_special_tokens=False)
    assert shown.json()["choices"][0]["message"]["content"] == "add<|im_end|>"


async def test_a_model_without_a_template_refuses_chats(make_site: MakeSite) -> None:
    site = make_site(has_template=False)
    response = await site.chat()
    assert (response.status_code, response.json()["error"]["code"]) == (400, "unsupported_option")


async def test_long_texts_are_tokenised_beside_the_event_loop(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    encode = site.tokenizer.encode

    def noting(text: str, *, add_bos: bool) -> list[int]:
        threads.append(threading.get_ident())
        return encode(text, add_bos=add_bos)

    monkeypatch.setattr(site.tokenizer, "encode", noting)
    await site.chat()
    assert threads == [threading.get_ident()]
    response = await site.chat(messages=[{"role": "user", "content": "word " * 2_000}])
    assert response.json()["error"]["code"] == "context_length_exceeded"
    assert (await site.complete(prompt="word " * 2_000)).status_code == 400
    assert threading.get_ident() not in threads[1:]
    assert len(threads) == 3
