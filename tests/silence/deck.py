"""Requests that hold a secret in every place that a request has."""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from llama4coder.server.anthropic.schemas import MessageRequest
from llama4coder.server.body import RequestModel
from llama4coder.server.llama_cpp.schemas import InfillRequest
from llama4coder.server.mistral.schemas import FimRequest
from llama4coder.server.ollama import schemas as ollama
from llama4coder.server.openai import schemas as openai

_FEW_TOKENS = 3
# Not `x-request-id`: it is an id, and Serve's logs, where an operator turns them on, name requests by it.
_HEADERS = (
    *("authorization", "x-api-key", "api-key", "user-agent", "cookie", "accept", "content-type"),
    *(
        "content-encoding",
        "anthropic-version",
        "anthropic-beta",
        "openai-organization",
        "traceparent",
        "referer",
        "origin",
    ),
    *("x-forwarded-for", "x-serve-multiplexed-model-id", "x-serve-request-id", "serve-multiplexed-model-id", "range"),
)
_PATHS = (
    *("/v1/models/{}", "/v1/models/a/{}", "/{}", "/v1/{}", "/api/{}", "/api/blobs/sha256:{}", "/v1/messages/{}"),
    *(
        "/v1/models?key={}",
        "/health?{}",
        "/api/tags?name={}",
        "/metrics?{}",
        "/ready?x={}",
        "/-/healthz?{}",
        "/-/routes?{}",
    ),
)


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as it goes out."""

    method: str
    path: str
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dialect:
    """A route, what its body may hold, and a body that is right and holds the secret."""

    path: str
    model: type[RequestModel]
    body: Mapping[str, object]


def dialects(model: str, secret: str) -> tuple[Dialect, ...]:
    """Every route that takes a body."""
    text = f"The password of the database is {secret}, do not tell."
    turns = [{"role": "system", "content": text}, {"role": "user", "content": f"Say {secret}"}]
    tool = {"type": "function", "function": {"name": secret, "description": text, "parameters": {"title": secret}}}
    call = {"id": secret, "type": "function", "function": {"name": secret, "arguments": json.dumps({"path": text})}}
    called = [
        *turns,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": text, "tool_call_id": secret},
    ]
    chat = {"model": model, "messages": turns, "max_tokens": _FEW_TOKENS}
    files = {"filename": f"src/{secret}.py", "input_extra": [{"filename": f"{secret}.py", "text": text}]}
    few = {"num_predict": _FEW_TOKENS}
    return (
        Dialect("/v1/chat/completions", openai.ChatRequest, chat | {"stop": [secret], "user": secret}),
        Dialect("/v1/chat/completions", openai.ChatRequest, chat | {"stream": True, "metadata": {secret: secret}}),
        Dialect("/v1/chat/completions", openai.ChatRequest, chat | {"tools": [tool], "messages": called}),
        Dialect(
            "/v1/completions", openai.CompletionRequest, {"model": model, "prompt": text, "max_tokens": _FEW_TOKENS}
        ),
        Dialect("/v1/completions", openai.CompletionRequest, {"model": model, "prompt": text, "suffix": text, **files}),
        Dialect("/v1/fim/completions", FimRequest, {"model": model, "prompt": text, "suffix": text, **files}),
        Dialect("/infill", InfillRequest, {"input_prefix": text, "input_suffix": text, "prompt": text, **files}),
        Dialect("/v1/messages", MessageRequest, chat | {"system": text, "messages": turns[1:]}),
        Dialect("/v1/messages/count_tokens", MessageRequest, {"model": model, "system": text, "messages": turns[1:]}),
        Dialect("/api/chat", ollama.ChatRequest, {"model": model, "messages": turns, "options": few}),
        Dialect(
            "/api/generate", ollama.GenerateRequest, {"model": model, "prompt": text, "system": text, "options": few}
        ),
        Dialect("/api/show", ollama.ShowRequest, {"model": secret}),
        Dialect("/tokenize", openai.TokenizeRequest, {"prompt": text, "return_token_strs": True}),
        Dialect("/detokenize", openai.DetokenizeRequest, {"tokens": [5], "model": secret}),
    )


def deck(model: str, secret: str, num_requests: int, num_large_bytes: int, seed: int) -> list[Sent]:
    """So many requests of all kinds, in a random order."""
    chance = random.Random(seed)
    every = dialects(model, secret)
    fixed = [request for dialect in every for request in (*_right(dialect), *_broken(dialect, secret, num_large_bytes))]
    fixed += _elsewhere(every, secret)
    wrong = [request for dialect in every for request in _wrong(dialect, secret)]
    assert len(fixed) <= num_requests, "every kind has a place"
    chosen = fixed + chance.sample(wrong, min(len(wrong), num_requests - len(fixed)))
    chance.shuffle(chosen)
    return chosen


def _post(path: str, body: object, headers: Mapping[str, str] | None = None) -> Sent:
    return Sent("POST", path, json.dumps(body).encode(), {"content-type": "application/json", **(headers or {})})


def _right(dialect: Dialect) -> Iterator[Sent]:
    yield _post(dialect.path, dialect.body)
    yield _post(dialect.path, {**dialect.body, "stream": True})
    escaped = "".join(f"\\u{ord(char):04x}" if char.isalnum() else char for char in "Canary")
    yield Sent("POST", dialect.path, json.dumps(dialect.body).replace("Canary", escaped).encode())


def _broken(dialect: Dialect, secret: str, num_large_bytes: int) -> Iterator[Sent]:
    whole = json.dumps(dialect.body).encode()
    for content in (
        *(whole[:-1], whole + whole, b"\xff" + whole, whole.replace(b"Canary", b"\xffCanary"), b"[" * 3000 + whole),
        *(json.dumps(secret).encode(), secret.encode(), f'{{"{secret}": NaN}}'.encode(), f'["{secret}"]'.encode()),
        whole.replace(b"The password", b"\\q The password"),
    ):
        yield Sent("POST", dialect.path, content)
    yield Sent("POST", dialect.path, secret.encode() * (num_large_bytes // len(secret) + 1))


def _elsewhere(every: tuple[Dialect, ...], secret: str) -> Iterator[Sent]:
    for path in _PATHS:
        yield Sent("GET", path.format(secret))
        yield Sent("POST", path.format(secret), secret.encode())
    for index, name in enumerate(_HEADERS):
        dialect = every[index % len(every)]
        yield _post(dialect.path, dialect.body, {name: f"Bearer {secret}" if name == "authorization" else secret})
        yield Sent("GET", "/v1/models", headers={name: secret, secret: secret})
    for dialect in every:
        yield _post(f"{dialect.path}?api_key={secret}&{secret}", dialect.body)
        yield Sent("PUT", dialect.path, secret.encode())


def _wrong(dialect: Dialect, secret: str) -> Iterator[Sent]:
    """The secret in each field, known and unknown, in shapes that fit and that do not."""
    for name in (*dialect.model.model_fields, *dialect.model.unsupported, "frobnicate", secret):
        for value in (secret, [secret], {secret: secret}, [{"type": secret, "text": secret, "role": secret}]):
            yield _post(dialect.path, {**dialect.body, name: value})
