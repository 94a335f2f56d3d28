"""A client of an OpenAI-style endpoint: what the terminal commands need of it, and nothing else."""

import ipaddress
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import httpx
import msgspec

from llama4coder.cli.event_stream import EventParser
from llama4coder.env import API_KEY_VARIABLE
from llama4coder.errors import Llama4CoderError

DEFAULT_URL = "http://127.0.0.1:8000/v1"
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 600.0
METRICS_TIMEOUT_S = 10.0
_UNAUTHORIZED = 401
_MAY_MEND = frozenset({408, 429})
_FIRST_FAULT_STATUS = 500

_Body = TypeVar("_Body")


class EndpointError(Llama4CoderError):
    """The endpoint cannot be reached, refused, or broke off; one line for the user.

    `is_final` says that asking again as before is of no use.
    """

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.is_final = is_final


@dataclass(frozen=True, slots=True, repr=False)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """What every request of a chat asks for; None leaves it to the endpoint."""

    model: str
    temperature: float | None = None
    max_tokens: int | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True, repr=False)
class AnswerPart:
    """A piece of an answer as it arrives, or of the reasoning before it; the last one has a finish reason."""

    text: str
    finish_reason: str | None = None
    reasoning: str = ""


class EndpointClient:
    """Talks to the endpoint at `url`, which ends in `/v1`; close it, or use it in `with`.

    Every method raises `EndpointError` for whatever goes wrong on the way or over there.
    """

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self.url = url.rstrip("/")
        headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
        timeout = httpx.Timeout(CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S)
        # A proxy that is configured for the world outside cannot reach this machine's own addresses.
        self._http = httpx.Client(timeout=timeout, headers=headers, trust_env=not _is_loopback(self.url))

    def __enter__(self) -> "EndpointClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def first_model(self) -> str:
        """The name of the first model that is served there."""
        try:
            response = self._http.get(f"{self.url}/models")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error
        if response.is_error:
            raise self._refused(response)
        models = self._decode(response.content, _Models).data
        if not models:
            raise EndpointError(f"{self.url} serves no model")
        return models[0].id

    @property
    def metrics_url(self) -> str:
        """Where our endpoint has its metrics: beside `/v1`."""
        return f"{self.url.removesuffix('/v1')}/metrics"

    def metrics(self) -> str:
        """The endpoint's metrics as they are now, in Prometheus text format if it is one of ours."""
        try:
            response = self._http.get(self.metrics_url, timeout=METRICS_TIMEOUT_S)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error
        if response.is_error:
            raise self._refused(response)
        return response.text

    def answer(self, messages: Sequence[Message], options: ChatOptions) -> Generator[AnswerPart, None, None]:
        """Stream one answer; closing the generator closes the connection, so that the endpoint stops generating."""
        try:
            with self._http.stream("POST", f"{self.url}/chat/completions", json=_body(messages, options)) as response:
                if response.is_error:
                    response.read()
                    raise self._refused(response)
                yield from self._parts(response)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error

    def _parts(self, response: httpx.Response) -> Iterator[AnswerPart]:
        parser = EventParser()
        finished = False
        for received in response.iter_bytes():
            for data in parser.push(received):
                if data == b"[DONE]":
                    return
                chunk = self._decode(data, _Chunk)
                if chunk.error is not None:
                    raise EndpointError(_one_line(chunk.error))
                for choice in chunk.choices:
                    finished = finished or choice.finish_reason is not None
                    delta = choice.delta
                    yield AnswerPart(delta.content or "", choice.finish_reason, delta.reasoning_content or "")
        if not finished:
            raise EndpointError(f"{self.url} broke the answer off")

    def _decode(self, data: bytes, kind: type[_Body]) -> _Body:
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise EndpointError(f"{self.url} does not answer like an OpenAI-style endpoint") from error

    def _unreachable(self, error: Exception) -> EndpointError:
        reason = _one_line(str(error)) or type(error).__name__
        is_final = isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol)
        message = f"cannot reach {self.url}: {reason}; is it running? Name another with --url"
        return EndpointError(message, is_final=is_final)

    def _refused(self, response: httpx.Response) -> EndpointError:
        status = response.status_code
        is_final = status < _FIRST_FAULT_STATUS and status not in _MAY_MEND
        try:
            error = msgspec.json.decode(response.content, type=_Refusal).error
        except (msgspec.DecodeError, UnicodeDecodeError):
            return EndpointError(f"{self.url} answered with HTTP {status}", is_final=is_final)
        hint = f"; {API_KEY_VARIABLE} holds the one to show" if status == _UNAUTHORIZED else ""
        return EndpointError(f"{_one_line(error)} (HTTP {status}){hint}", is_final=is_final)


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None


class _Error(msgspec.Struct):
    message: str


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    error: _Error | str | None = None


class _Refusal(msgspec.Struct):
    error: _Error | str


def _body(messages: Sequence[Message], options: ChatOptions) -> dict[str, object]:
    settings = {"temperature": options.temperature, "max_tokens": options.max_tokens, "seed": options.seed}
    return {
        "model": options.model,
        "messages": [{"role": message.role, "content": message.content} for message in messages],
        "stream": True,
        **{name: value for name, value in settings.items() if value is not None},
    }


def _one_line(error: _Error | str) -> str:
    return " ".join((error if isinstance(error, str) else error.message).split())


def _is_loopback(url: str) -> bool:
    try:
        host = httpx.URL(url).host
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except (httpx.InvalidURL, ValueError):
        return False
