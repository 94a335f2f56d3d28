"""The client reads answers, and turns every failure into one line."""

import socket

import pytest

from llama4coder.cli.client import AnswerPart, ChatOptions, EndpointClient, EndpointError, Message
from tests.cli.scripted_endpoint import Endpoint, Reply, answer, event, json_reply

HELLO = [Message("user", "hello")]


def ask(endpoint: Endpoint, options: ChatOptions | None = None) -> list[AnswerPart]:
    with EndpointClient(endpoint.url) as client:
        return list(client.answer(HELLO, options or ChatOptions("m")))


def failure(endpoint: Endpoint) -> str:
    with pytest.raises(EndpointError) as caught:
        ask(endpoint)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_parts_arrive_in_order(endpoint: Endpoint) -> None:
    endpoint.replies = [answer("Hel", "lo \u2028é", finish_reason="length")]
    assert ask(endpoint) == [AnswerPart("Hel"), AnswerPart("lo \u2028é"), AnswerPart("", "length")]


def test_request_holds_only_what_was_asked_for(endpoint: Endpoint) -> None:
    endpoint.replies = [answer("x")]
    ask(endpoint)
    ask(endpoint, ChatOptions("m", temperature=0.0, max_tokens=5, seed=0))
    plain = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    assert endpoint.asked == [plain, {**plain, "temperature": 0.0, "max_tokens": 5, "seed": 0}]


def test_chunks_without_choices_or_content_are_skipped(endpoint: Endpoint) -> None:
    role = b'data: {"choices": [{"delta": {"role": "assistant", "content": null}, "finish_reason": null}]}\n\n'
    usage = b'data: {"choices": [], "usage": {"total_tokens": 3}}\n\n'
    endpoint.replies = [Reply((role, event("x", "stop"), usage, b"data: [DONE]\n\n"))]
    assert ask(endpoint) == [AnswerPart(""), AnswerPart("x", "stop")]


def test_reasoning_is_no_part_of_the_text(endpoint: Endpoint) -> None:
    thought = b'data: {"choices": [{"delta": {"reasoning_content": "hm"}, "finish_reason": null}]}\n\n'
    endpoint.replies = [Reply((thought, event("x", "stop"), b"data: [DONE]\n\n"))]
    assert ask(endpoint) == [AnswerPart("", reasoning="hm"), AnswerPart("x", "stop")]


def test_first_model(endpoint: Endpoint) -> None:
    with EndpointClient(endpoint.url + "/") as client:
        assert client.first_model() == "first"


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (json_reply({"data": []}), "serves no model"),
        (json_reply({"models": []}), "does not answer like"),
        (Reply((b"<html>",)), "does not answer like"),
        (json_reply({"error": {"message": "no key"}}, 401), "no key (HTTP 401)"),
        (Reply((b"<html>",), 502), "answered with HTTP 502"),
    ],
)
def test_models_that_cannot_be_had(endpoint: Endpoint, models: Reply, message: str) -> None:
    endpoint.models = models
    with EndpointClient(endpoint.url) as client, pytest.raises(EndpointError) as caught:
        client.first_model()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (
            json_reply({"error": {"message": "too\nlong", "code": "c"}}, 400),
            "too long (HTTP 400)",
        ),
        (json_reply({"error": "plain"}, 500), "plain (HTTP 500)"),
        (Reply((b"gateway",), 502), "answered with HTTP 502"),
        (Reply((event("x"), b'data: {"error": {"message": "engine died"}}\n\n')), "engine died"),
        (Reply((event("x"), b"data: {broken\n\n")), "does not answer like"),
        (Reply((event("x"), b"data: \xff\n\n")), "does not answer like"),
        (Reply((event("x"),)), "broke the answer off"),
    ],
)
def test_answers_that_fail(endpoint: Endpoint, reply: Reply, message: str) -> None:
    endpoint.replies = [reply]
    assert message in failure(endpoint)


@pytest.mark.parametrize("url", ["127.0.0.1:1/v1", "ftp://127.0.0.1/v1", "http://[bad/v1", "http://127.0.0.1:99999/v1"])
def test_urls_that_are_none(url: str) -> None:
    with EndpointClient(url) as client, pytest.raises(EndpointError, match="cannot reach"):
        client.first_model()


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        with EndpointClient(url) as client, pytest.raises(EndpointError, match=r"cannot reach .*refused.*--url"):
            list(client.answer(HELLO, ChatOptions("m")))


def test_proxies_are_not_asked_for_this_machine(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    endpoint.replies = [answer("x")]
    assert ask(endpoint)[0].text == "x"


def test_the_key_is_shown_with_every_request(endpoint: Endpoint) -> None:
    endpoint.replies, endpoint.metrics = [answer("x")], [answer("y")]
    with EndpointClient(endpoint.url, "l4c-secret") as client:
        list(client.answer(HELLO, ChatOptions(client.first_model())))
        client.metrics()
    assert endpoint.authorizations == ["Bearer l4c-secret"] * 3


def test_who_has_no_key_is_told_where_it_goes(endpoint: Endpoint) -> None:
    endpoint.models = json_reply({"error": {"message": "an API key is needed"}}, status=401)
    with EndpointClient(endpoint.url) as client, pytest.raises(EndpointError, match=r"needed.*LLAMA4CODER_API_KEY"):
        client.first_model()
    assert endpoint.authorizations == [None]


def test_closing_the_answer_closes_the_connection(endpoint: Endpoint) -> None:
    endpoint.replies = [Reply((event("x"),), hang=True)]
    with EndpointClient(endpoint.url) as client:
        parts = client.answer(HELLO, ChatOptions("m"))
        assert next(parts).text == "x"
        assert not endpoint.client_left.is_set()
        parts.close()
        assert endpoint.client_left.wait(5)
