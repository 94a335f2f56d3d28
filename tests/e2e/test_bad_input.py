"""Broken and hostile input over a real socket: always a 4xx that says what was wrong, and the server goes on."""

import json
import socket

import httpx
import pytest

from tests.e2e.conftest import CONTEXT_LENGTH, MODEL
from tests.support.live_server import LiveServer

pytestmark = [pytest.mark.cluster, pytest.mark.model]

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
COMPLETION = {"model": MODEL, "prompt": "hi", "max_tokens": 2}

BAD_BODIES = {
    "invalid utf-8": b'{"model": "\xff\xfe"}',
    "broken json": b'{"model": ',
    "nan": b'{"model": "x", "prompt": "hi", "temperature": NaN}',
    "infinity": b'{"model": "x", "prompt": "hi", "top_p": 1e999}',
    "not an object": b"[1, 2]",
    "empty": b"",
    "deeply nested": b"[" * 50_000,
}

BAD_FIELDS = {
    "temperature": [-1, 2.5, "hot", True],
    "top_p": [0, -0.5, 1.5],
    "top_k": [-2, 1.5, "all"],
    "n": [0, -1, 10**9, 1.5],
    "max_tokens": [-1, "many", 1.5],
    "stop": [["x"] * 10_000, [""], 7],
    "seed": [2**64, 1.5, "x"],
    "logit_bias": [{"x": 1}, {"5": 101}, [1]],
    "presence_penalty": [-3, 3],
    "stream": ["yes", 1],
}


@pytest.mark.parametrize("name", BAD_BODIES)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/tokenize"])
def test_a_body_that_is_no_request(http: httpx.Client, path: str, name: str) -> None:
    response = http.post(path, content=BAD_BODIES[name])
    assert response.status_code == 400
    assert response.json()["error"]["message"]


@pytest.mark.parametrize("field", BAD_FIELDS)
def test_a_bad_value_is_named(http: httpx.Client, field: str) -> None:
    for value in BAD_FIELDS[field]:
        for path, body in (("/v1/chat/completions", CHAT), ("/v1/completions", COMPLETION)):
            response = http.post(path, json={**body, field: value})
            assert response.status_code == 400, (path, value, response.text)
            assert response.json()["error"]["param"].startswith(field), (path, value)


@pytest.mark.parametrize(
    "messages",
    [[], [{"role": "wizard", "content": "hi"}], [{"role": "user"}], ["hi"], "hi", [{"role": "user", "content": 7}]],
)
def test_bad_messages(http: httpx.Client, messages: object) -> None:
    response = http.post("/v1/chat/completions", json={**CHAT, "messages": messages})
    assert response.status_code == 400
    assert response.json()["error"]["param"].startswith("messages")


def test_an_unknown_field_is_ignored_and_an_unsupported_one_is_named(http: httpx.Client) -> None:
    assert http.post("/v1/completions", json={**COMPLETION, "frobnicate": 1}).status_code == 200
    response = http.post("/v1/chat/completions", json={**CHAT, "logits_processors": ["x"]})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "logits_processors"


def test_an_unknown_model_is_a_404(http: httpx.Client) -> None:
    response = http.post("/v1/completions", json={**COMPLETION, "model": "gpt-4"})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


def test_a_body_over_the_limit_is_a_413(http: httpx.Client) -> None:
    response = http.post("/v1/completions", json={**COMPLETION, "prompt": "x" * 2**20})
    assert response.status_code == 413
    assert str(2**20) in response.json()["error"]["message"]


def test_a_body_without_end_is_cut_off(server: LiveServer) -> None:
    """Chunked transfer has no Content-Length to refuse; the limit holds all the same."""
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(64):
                connection.sendall(chunk)
            connection.sendall(b"0\r\n\r\n")
        except OSError:
            pass  # the answer came first, and the connection was closed
        assert b" 413 " in connection.recv(65536)


@pytest.mark.parametrize("data", [b"\x00\xff\x00", b"GET / HTTP/9.9\r\n\r\n", b"POST /v1/completions HTTP/1.1\r\n"])
def test_what_is_not_http_harms_nobody(server: LiveServer, http: httpx.Client, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(data)
    assert http.post("/v1/completions", json=COMPLETION).status_code == 200


def test_errors_hold_no_content(http: httpx.Client) -> None:
    secret = "hunter2-secret"
    bodies = [
        {**CHAT, "messages": [{"role": secret, "content": secret}]},
        {**COMPLETION, "prompt": {"text": secret}},
        {**COMPLETION, "prompt": secret * 5000},
        {**COMPLETION, "stop": [secret] * 10_000},
    ]
    for body in bodies:
        response = http.post("/v1/chat/completions" if "messages" in body else "/v1/completions", json=body)
        assert response.status_code == 400, response.text
        assert secret not in json.dumps(response.json())


@pytest.mark.parametrize("max_tokens", [10_000, 2**31, 2**70])
def test_more_output_than_the_context_holds_is_refused_with_the_numbers(http: httpx.Client, max_tokens: int) -> None:
    error = http.post("/v1/completions", json={**COMPLETION, "max_tokens": max_tokens}).json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert str(max_tokens) in error["message"] and str(CONTEXT_LENGTH) in error["message"]
