"""The official `openai` client against the real server."""

import asyncio
import json

import httpx
import jsonschema
import openai as sdk
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.e2e.conftest import CONTEXT_LENGTH, MODEL

pytestmark = [pytest.mark.cluster, pytest.mark.model]

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
LONG_TEXT = "def visit(node):\n    return [visit(child) for child in node.children]\n\n" * 150


def test_the_model_list_says_what_is_served(openai: OpenAI) -> None:
    model = openai.models.retrieve(MODEL)
    assert model.id == MODEL
    assert model.model_extra["max_model_len"] == CONTEXT_LENGTH
    assert [entry.id for entry in openai.models.list()] == [MODEL]


def test_a_chat_is_answered_sensibly(openai: OpenAI) -> None:
    answer = openai.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0)
    assert "Paris" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_says_the_same_as_the_whole_answer(openai: OpenAI) -> None:
    whole = openai.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=24)
    stream = openai.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        temperature=0,
        max_tokens=24,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_completions_with_everything(openai: OpenAI) -> None:
    reply = openai.completions.create(
        model=MODEL,
        prompt=["def add(a, b):\n", "The sky is"],
        max_tokens=8,
        n=2,
        seed=5,
        temperature=0.8,
        top_p=0.9,
        logprobs=2,
        echo=True,
        presence_penalty=0.1,
        frequency_penalty=0.1,
        logit_bias={"100": -100},
        stop=["\n\n"],
        extra_body={"top_k": 50, "min_p": 0.01, "repetition_penalty": 1.05, "min_tokens": 2, "ignore_eos": True},
    )
    assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]
    assert all(
        choice.text.startswith(prompt)
        for choice, prompt in zip(reply.choices, ["def add(a, b):\n"] * 2 + ["The sky is"] * 2, strict=True)
    )
    for choice in reply.choices:
        assert choice.logprobs.token_logprobs[0] is None
        assert len(choice.logprobs.tokens) == len(choice.logprobs.top_logprobs)
        assert all(value <= 0 for value in choice.logprobs.token_logprobs[1:])


def test_a_stop_string_ends_the_text_before_it(openai: OpenAI) -> None:
    ask = {"model": MODEL, "prompt": "1, 2, 3, 4,", "max_tokens": 30, "temperature": 0}
    free = openai.completions.create(**ask).choices[0].text
    assert " 7" in free
    stopped = openai.completions.create(**ask, stop=[" 7"]).choices[0]
    assert stopped.text == free.split(" 7")[0]
    assert stopped.finish_reason == "stop"


def test_a_second_equal_prompt_is_served_from_the_cache(openai: OpenAI) -> None:
    ask = {"model": MODEL, "prompt": "# cached\n" + LONG_TEXT[:2000], "max_tokens": 4, "temperature": 0}
    first, second = openai.completions.create(**ask), openai.completions.create(**ask)
    assert second.usage.prompt_tokens_details.cached_tokens > 0.8 * second.usage.prompt_tokens
    assert first.choices[0].text == second.choices[0].text


def test_a_prediction_and_speculation_change_nothing_but_the_count(openai: OpenAI) -> None:
    ask = {"model": MODEL, "messages": QUESTION, "temperature": 0.7, "seed": 3, "max_tokens": 40}
    plain = openai.chat.completions.create(**ask, extra_body={"speculation": False})
    answer = plain.choices[0].message.content
    predicted = openai.chat.completions.create(**ask, prediction={"type": "content", "content": answer})
    assert predicted.choices[0].message.content == answer
    assert plain.usage.completion_tokens_details.accepted_prediction_tokens == 0
    details = predicted.usage.completion_tokens_details
    assert 0 < details.accepted_prediction_tokens < plain.usage.completion_tokens
    assert predicted.usage.completion_tokens == plain.usage.completion_tokens


def test_a_prompt_that_is_too_long_is_refused_with_both_numbers(openai: OpenAI) -> None:
    with pytest.raises(sdk.BadRequestError) as caught:
        openai.completions.create(model=MODEL, prompt=[1] * (CONTEXT_LENGTH + 7))
    assert caught.value.code == "context_length_exceeded"
    assert str(CONTEXT_LENGTH) in str(caught.value) and str(CONTEXT_LENGTH + 7) in str(caught.value)


def test_tokenize_and_detokenize_agree(http: httpx.Client) -> None:
    text = "for i in range(10):\n    print(i)  # ü ∑ 🦙\n"
    tokens = http.post("/tokenize", json={"model": MODEL, "prompt": text}).json()
    assert tokens["count"] == len(tokens["tokens"]) and tokens["max_model_len"] == CONTEXT_LENGTH
    assert http.post("/detokenize", json={"model": MODEL, "tokens": tokens["tokens"]}).json() == {"prompt": text}


def test_liveness_and_readiness(http: httpx.Client) -> None:
    assert http.get("/health").status_code == 200
    assert http.get("/ready").status_code == 200


async def ask_seeded(client: AsyncOpenAI, prompt: str, seed: int) -> str:
    reply = await client.completions.create(
        model=MODEL, prompt=prompt, max_tokens=24, temperature=0.9, top_p=0.95, seed=seed
    )
    return reply.choices[0].text


async def test_the_same_seed_gives_the_same_text_alone_and_among_sixteen_others(async_openai: AsyncOpenAI) -> None:
    prompt = "import random\n\ndef shuffle(items):\n"
    alone = await ask_seeded(async_openai, prompt, 77)
    others = [ask_seeded(async_openai, f"# file {index}\nimport os\n" * (index + 1), index) for index in range(16)]
    subject, *_ = await asyncio.gather(ask_seeded(async_openai, prompt, 77), *others)
    assert subject == alone
    assert await ask_seeded(async_openai, prompt, 78) != alone


async def test_a_long_prompt_and_32_streams_all_finish(async_openai: AsyncOpenAI) -> None:
    """None starves: while the long prompt is prefilled, every stream goes on receiving tokens."""
    loop = asyncio.get_running_loop()
    gaps_s: list[float] = []

    async def stream(index: int) -> int:
        chunks = await async_openai.completions.create(
            model=MODEL, prompt=f"Item {index}:", max_tokens=24, stream=True, extra_body={"ignore_eos": True}
        )
        text, last_s = "", loop.time()
        async for chunk in chunks:
            gaps_s.append(loop.time() - last_s)
            last_s = loop.time()
            text += chunk.choices[0].text
            finish_reason = chunk.choices[0].finish_reason
        assert finish_reason == "length"
        return len(text)

    async def long() -> str:
        reply = await async_openai.completions.create(model=MODEL, prompt=LONG_TEXT, max_tokens=8, temperature=0)
        assert reply.usage.prompt_tokens >= 3000
        return reply.choices[0].finish_reason

    lengths, reason = await asyncio.gather(asyncio.gather(*(stream(index) for index in range(32))), long())
    assert reason == "length"
    assert all(lengths)
    assert max(gaps_s) < 60


async def test_the_queue_is_bounded(async_openai: AsyncOpenAI) -> None:
    """64 may run and 40 may wait; of 140 at once some are told to come back, and none is lost."""

    async def ask(index: int) -> int:
        try:
            await async_openai.completions.create(
                model=MODEL, prompt=f"{index} bottles", max_tokens=12, extra_body={"ignore_eos": True}
            )
        except sdk.RateLimitError as error:
            assert int(error.response.headers["retry-after"]) >= 1
            assert error.code == "overloaded"
            return 429
        return 200

    statuses = await asyncio.gather(*(ask(index) for index in range(140)))
    assert statuses.count(429) >= 20
    assert statuses.count(200) >= 104 * 0.9


def test_an_answer_is_held_to_its_schema(openai: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"language": {"enum": ["Python", "Rust"]}, "year": {"type": "integer", "minimum": 1990}},
        "required": ["language", "year"],
        "additionalProperties": False,
    }
    reply = openai.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Which language, and since when?"}],
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
        seed=1,
        max_tokens=60,
    )
    jsonschema.validate(json.loads(reply.choices[0].message.content or ""), schema)
    with pytest.raises(sdk.BadRequestError, match="none is ever fetched"):
        openai.completions.create(model=MODEL, prompt="x", extra_body={"guided_json": {"$ref": "http://x/y"}})
