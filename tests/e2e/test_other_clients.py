"""The official clients of Anthropic and Ollama against the real server: the same model, in other words."""

from collections.abc import Iterator

import anthropic
import ollama
import pytest
from openai import OpenAI

from tests.e2e.conftest import CONTEXT_LENGTH, MODEL
from tests.support.live_server import LiveServer

pytestmark = [pytest.mark.cluster, pytest.mark.model]

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY = {"temperature": 0}  # Anthropic's newest models take no temperature, and so its client has no argument for one


@pytest.fixture
def claude(server: LiveServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def llama(server: LiveServer) -> Iterator[ollama.Client]:
    with ollama.Client(server.url) as client:
        yield client


@pytest.fixture
def answer(openai: OpenAI) -> str:
    reply = openai.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=24)
    return reply.choices[0].message.content


def test_a_message_says_what_a_chat_says(claude: anthropic.Anthropic, answer: str) -> None:
    message = claude.messages.create(model=MODEL, max_tokens=24, messages=QUESTION, extra_body=GREEDY)
    assert message.content[0].text == answer
    counted = claude.messages.count_tokens(model=MODEL, messages=QUESTION)
    usage = message.usage
    assert usage.input_tokens + usage.cache_read_input_tokens == counted.input_tokens
    with claude.messages.stream(model=MODEL, max_tokens=24, messages=QUESTION, extra_body=GREEDY) as stream:
        assert "".join(stream.text_stream) == answer


def test_what_asks_for_more_than_the_context_gets_the_context(claude: anthropic.Anthropic) -> None:
    message = claude.messages.create(
        model=MODEL, max_tokens=CONTEXT_LENGTH * 2, messages=QUESTION, extra_body=GREEDY, stop_sequences=["Paris"]
    )
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "Paris")


def test_ollamas_client_gets_the_same_answer(llama: ollama.Client, answer: str) -> None:
    options = {"temperature": 0, "num_predict": 24, "num_ctx": CONTEXT_LENGTH}
    assert llama.chat(MODEL, QUESTION, options=options).message.content == answer
    stream = llama.chat(f"{MODEL}:latest", QUESTION, options=options, stream=True)
    assert "".join(part.message.content for part in stream) == answer
    assert llama.generate(MODEL, QUESTION[0]["content"], options=options).response == answer


def test_the_model_is_described_as_it_is_served(llama: ollama.Client) -> None:
    shown = llama.show(MODEL)
    assert shown.modelinfo["general.architecture"] == "llama"
    assert shown.modelinfo["llama.context_length"] == CONTEXT_LENGTH
    assert shown.details.parameter_size == "134.5M"
    assert shown.details.quantization_level == "F32"
    (model,) = llama.ps().models
    assert model.context_length == CONTEXT_LENGTH
    assert model.size > 200 * 2**20
