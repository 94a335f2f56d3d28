"""Completions: prompt shapes, echo, log-probabilities, lists."""

import dataclasses

import pytest

from tests.server.serving import MODEL, MakeSite, Site, events_of
from tests.support.fake_backend import Script


async def test_a_raw_prompt_gets_no_template_and_no_bos_unless_the_model_adds_one(site: Site) -> None:
    reply = (await site.complete(prompt="def add")).json()
    assert site.backend.requests[0].prompt_token_ids == tuple(site.ids("def add"))
    assert reply["object"] == "text_completion"
    assert reply["id"].startswith("cmpl-")
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert reply["usage"]["total_tokens"] == len(site.ids("def add")) + 3


async def test_a_bos_where_it_is_the_models_habit(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site.tokenizer, "adds_bos", True)
    await site.complete(prompt="def add")
    await site.complete(prompt="def add", add_special_tokens=False)
    with_bos, without = site.backend.requests
    assert with_bos.prompt_token_ids == (site.tokenizer.bos_token_id, *without.prompt_token_ids)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [([5, 6, 7], [(5, 6, 7)]), ([[5], [6, 7]], [(5,), (6, 7)]), ([399], [(399,)])],
)
async def test_token_ids_are_prompts(site: Site, prompt: list[object], expected: list[tuple[int, ...]]) -> None:
    response = await site.complete(prompt=prompt)
    assert response.status_code == 200, response.text
    assert sorted(request.prompt_token_ids for request in site.backend.requests) == expected


async def test_lists_give_n_choices_per_prompt_in_order(site: Site) -> None:
    site.backend.choose = lambda request: Script([*request.prompt_token_ids, 10 + request.seed])
    reply = (await site.complete(prompt=["def", "add"], n=2, seed=0)).json()
    texts = [choice["text"] for choice in reply["choices"]]
    assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2, 3]
    assert [text[:3] for text in texts] == ["def", "def", "add", "add"]
    assert texts[0] != texts[1]
    assert reply["usage"]["prompt_tokens"] == len(site.ids("def")) + len(site.ids("add"))


@pytest.mark.parametrize("stream", [False, True])
async def test_echo_comes_first(site: Site, stream: bool) -> None:
    site.backend.script = Script(site.ids("(first"))
    for prompt, text in (("def add", "def add(first"), ([*site.ids("add"), 2], "add<|im_end|>(first")):
        response = await site.complete(prompt=prompt, echo=True, stream=stream)
        choices = [event["choices"][0] for event in events_of(response)] if stream else response.json()["choices"]
        assert "".join(choice["text"] for choice in choices) == text


@pytest.mark.parametrize("stream", [False, True])
async def test_echo_alone_judges_the_prompt(site: Site, stream: bool) -> None:
    response = await site.complete(prompt="def add(", echo=True, max_tokens=0, logprobs=1, stream=stream)
    choice = events_of(response)[0]["choices"][0] if stream else response.json()["choices"][0]
    assert site.backend.requests[0].stop.max_tokens == 0
    assert choice["text"] == "def add("
    assert choice["finish_reason"] == "length"
    logprobs = choice["logprobs"]
    assert "".join(logprobs["tokens"]) == "def add("
    assert logprobs["token_logprobs"][0] is None
    assert logprobs["top_logprobs"][0] is None
    assert logprobs["token_logprobs"][1:] == [-0.5] * (len(logprobs["tokens"]) - 1)
    assert logprobs["text_offset"][:2] == [0, len(logprobs["tokens"][0])]


async def test_logprobs_and_offsets_go_on_through_a_stream(site: Site) -> None:
    site.backend.script = Script(site.ids("def add(first, second):"))
    events = events_of(await site.complete(stream=True, logprobs=2, echo=True))
    tokens, offsets = [], []
    for event in events:
        logprobs = event["choices"][0]["logprobs"]
        tokens += logprobs["tokens"]
        offsets += logprobs["text_offset"]
        for candidates in logprobs["top_logprobs"]:
            assert candidates is None or len(candidates) >= 2
    assert "".join(tokens) == "def add" + "def add(first, second):"
    assert offsets == [len("".join(tokens[:number])) for number in range(len(tokens))]


async def test_no_candidates_but_the_chosen_token(site: Site) -> None:
    logprobs = (await site.complete(logprobs=0)).json()["choices"][0]["logprobs"]
    assert [len(candidates) for candidates in logprobs["top_logprobs"]] == [1, 1, 1]


async def test_a_stream_with_usage(site: Site) -> None:
    *chunks, last = events_of(await site.complete(stream=True, stream_options={"include_usage": True}, n=2))
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 6
    assert sorted(chunk["choices"][0]["finish_reason"] or "" for chunk in chunks)[-2:] == ["stop", "stop"]


async def test_a_prompt_that_fills_the_context_can_still_be_judged(make_site: MakeSite) -> None:
    site = make_site(model=dataclasses.replace(MODEL, context_length=4))
    full = await site.complete(prompt=[5, 6, 7, 8], echo=True, max_tokens=0)
    assert full.status_code == 200
    over = await site.complete(prompt=[5, 6, 7, 8, 9], echo=True, max_tokens=0)
    assert over.json()["error"]["code"] == "context_length_exceeded"


async def test_best_of_equal_to_n_is_no_option_at_all(site: Site) -> None:
    assert (await site.complete(n=2, best_of=2)).status_code == 200
    assert (await site.complete(n=2, best_of=3)).json()["error"]["param"] == "best_of"
