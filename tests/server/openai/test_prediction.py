"""Predicted outputs and speculation: what reaches the backend, and what usage says of it."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.server.serving import Site, events_of, listening
from tests.support.fake_backend import Script

TEXT = "def add(first, second):"
FILE = "def add(first, second):\n    return first + second\n"
PREDICTION: Any = {"type": "content", "content": FILE}


@pytest.fixture
async def client(site: Site) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        listening(site.app) as address,
        openai.AsyncOpenAI(base_url=f"{address.url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


@pytest.mark.parametrize(
    "content", [FILE, [{"type": "text", "text": FILE[:9]}, {"type": "text", "text": FILE[9:]}]], ids=["text", "parts"]
)
async def test_a_prediction_is_tokenised_as_the_text_that_it_is(site: Site, content: object) -> None:
    prediction = {"type": "content", "content": content}
    for response in (await site.chat(prediction=prediction), await site.complete(prediction=prediction)):
        assert response.status_code == 200, response.text
    assert [request.prediction_token_ids for request in site.backend.requests] == [tuple(site.ids(FILE))] * 2


async def test_no_prediction_and_an_empty_one_are_none(site: Site) -> None:
    for prediction in (None, {"type": "content", "content": ""}, {"type": "content", "content": []}):
        assert (await site.chat(prediction=prediction)).status_code == 200
    assert [request.prediction_token_ids for request in site.backend.requests] == [()] * 3


async def test_special_tokens_and_bos_are_not_predicted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site.tokenizer, "adds_bos", True)
    await site.complete(prediction={"type": "content", "content": "a<|im_end|>"})
    token_ids = site.backend.requests[0].prediction_token_ids
    assert not {0, 1, 2} & set(token_ids)
    assert site.tokenizer.decode(token_ids) == "a<|im_end|>"


async def test_a_prediction_beyond_the_context_is_cut_and_refuses_nothing(site: Site) -> None:
    long = "def add(first, second):\n" * 200
    assert (await site.chat(prediction={"type": "content", "content": long})).status_code == 200
    assert site.backend.requests[0].prediction_token_ids == tuple(site.ids(long)[:256])


async def test_every_choice_of_every_prompt_has_the_prediction(site: Site) -> None:
    await site.complete(prompt=["a", "b"], n=2, prediction=PREDICTION)
    assert [request.prediction_token_ids for request in site.backend.requests] == [tuple(site.ids(FILE))] * 4


async def test_a_prediction_goes_with_every_other_option(site: Site) -> None:
    """OpenAI refuses these together."""
    response = await site.chat(
        prediction=PREDICTION, n=2, logprobs=True, top_logprobs=1, presence_penalty=1, frequency_penalty=1, seed=3
    )
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(("value", "speculates"), [(False, False), (True, True), (None, True)])
async def test_a_request_may_turn_speculation_off(site: Site, value: bool | None, speculates: bool) -> None:
    await site.chat(speculation=value)
    await site.complete(speculation=value)
    assert [request.speculates for request in site.backend.requests] == [speculates] * 2


@pytest.mark.parametrize("stream", [False, True])
async def test_usage_adds_up_steps_and_choices(site: Site, stream: bool) -> None:
    """Events of 4, 4, ... tokens of which all but the last were guessed, and 2 wrong guesses in each."""
    site.backend.script = Script(list(range(10, 20)), tokens_per_event=4, num_rejected=2)
    fields = {"n": 2, "stream": stream} | ({"stream_options": {"include_usage": True}} if stream else {})
    for response in (await site.chat(**fields), await site.complete(**fields)):
        usage = events_of(response)[-1]["usage"] if stream else response.json()["usage"]
        assert usage["completion_tokens"] == 20
        assert usage["completion_tokens_details"] == {
            "accepted_prediction_tokens": 2 * (3 + 3 + 1),
            "rejected_prediction_tokens": 2 * 3 * 2,
        }


async def test_guesses_behind_a_stop_string_were_not_accepted(site: Site) -> None:
    token_ids = site.ids(TEXT)
    site.backend.script = Script(token_ids, tokens_per_event=len(token_ids), num_rejected=1)
    usage = (await site.complete(stop=["("])).json()["usage"]
    details = usage["completion_tokens_details"]
    assert details["accepted_prediction_tokens"] == usage["completion_tokens"] < len(token_ids) - 1
    assert sum(details.values()) == len(token_ids) - 1 + 1


async def test_the_official_client_predicts_and_reads_what_came_of_it(site: Site, client: openai.AsyncOpenAI) -> None:
    site.backend.script = Script(site.ids(TEXT), tokens_per_event=3, num_rejected=1)
    messages: Any = [{"role": "user", "content": "Rename it."}]
    chat = await client.chat.completions.create(
        model="tiny", messages=messages, prediction=PREDICTION, extra_body={"speculation": True}
    )
    assert site.backend.requests[0].prediction_token_ids == tuple(site.ids(FILE))
    assert chat.choices[0].message.content == TEXT
    assert chat.usage is not None and chat.usage.completion_tokens_details is not None
    accepted = chat.usage.completion_tokens_details.accepted_prediction_tokens
    assert accepted and chat.usage.completion_tokens_details.rejected_prediction_tokens
    stream = await client.chat.completions.create(
        model="tiny", messages=messages, prediction=PREDICTION, stream=True, stream_options={"include_usage": True}
    )
    *_, last = [chunk async for chunk in stream]
    assert last.usage is not None and last.usage.completion_tokens_details is not None
    assert last.usage.completion_tokens_details.accepted_prediction_tokens == accepted
    completion = await client.completions.create(model="tiny", prompt="x", extra_body={"prediction": PREDICTION})
    assert completion.usage is not None and completion.usage.completion_tokens_details is not None
    assert completion.usage.completion_tokens_details.accepted_prediction_tokens == accepted


async def test_a_prediction_of_the_wrong_shape_is_told_apart(site: Site, client: openai.AsyncOpenAI) -> None:
    wrong: Any = {"type": "content", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "hi"}], prediction=wrong
        )
    assert (caught.value.code, caught.value.param) == ("unsupported_option", "prediction.content")
    assert site.backend.requests == []
