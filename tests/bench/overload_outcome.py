"""What became of a try: complete, refused with a reason, left by us; anything else is a violation."""

import http.client
import io
import json
import re
import socket
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from tests.bench.overload_client import Ending, Reply
from tests.bench.overload_deck import Ask

_DONE = b"data: [DONE]"
_FINISH_REASON = re.compile(rb'"finish_reason":\s*"')  # inside an answer's text the quotes would be escaped
_OUTPUT_TOKENS = re.compile(rb'"completion_tokens":\s*(\d+)')
_ERROR_EVENT = re.compile(rb"^data: (\{\"error\".*)$", re.MULTILINE)
_EVENT = b"data: {"
_REFUSED_LATER = frozenset(
    {"overloaded", "queue_timeout", "unavailable"}
)  # an error event before the first token is a refusal, too
_RETRY_STREAM_AFTER_S = 5.0  # such an event has no header to say when
_TRY_AGAIN = frozenset({429, 503})


class Kind(StrEnum):
    COMPLETE = "complete"
    REFUSED = "refused"
    LEFT = "left"
    VIOLATION = "violation"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`reason` has few values, so that they can be counted; `retry_after_s` is what a refusal asked for."""

    kind: Kind
    reason: str
    num_output_tokens: int = 0
    retry_after_s: float | None = None


def classify(ask: Ask, reply: Reply) -> Outcome:
    """The outcome of one try."""
    match reply.ending:
        case Ending.US:
            return Outcome(Kind.LEFT, "in the middle" if reply.first_event_s is not None else "before the first token")
        case Ending.TIMEOUT:
            return _violation("no end in time")
        case Ending.NO_CONNECTION:
            return _violation("no connection")
        case Ending.SERVER:
            return _answered(ask, reply.received)


def _answered(ask: Ask, received: bytes) -> Outcome:
    try:
        response = http.client.HTTPResponse(cast(socket.socket, _Received(received)))
        response.begin()
        body = response.read()
    except (http.client.HTTPException, ConnectionError) as error:
        return _violation(f"broken response: {type(error).__name__}" if received else "closed without an answer")
    if response.status != 200:
        return _refused(response.status, body, response.getheader("retry-after"))
    return _streamed(ask, body) if ask.streams else _complete(ask, body)


def _refused(status: int, body: bytes, retry_after: str | None) -> Outcome:
    code = _error_code(body)
    if code is None:
        return _violation(f"HTTP {status} without a reason")
    if status >= 500 and status != 503:
        return _violation(f"HTTP {status} {code}")
    if status in _TRY_AGAIN and not (retry_after or "").isdigit():
        return _violation(f"HTTP {status} {code} without Retry-After")
    return Outcome(Kind.REFUSED, f"{status} {code}", retry_after_s=float(retry_after) if retry_after else None)


def _streamed(ask: Ask, body: bytes) -> Outcome:
    failed = _ERROR_EVENT.search(body)
    if failed is not None:
        code = _error_code(failed[1]) or "no reason"
        if code in _REFUSED_LATER and body.find(_EVENT) == failed.start():
            return Outcome(Kind.REFUSED, f"in the stream: {code}", retry_after_s=_RETRY_STREAM_AFTER_S)
        return _violation(f"broken off: {code}")
    if _DONE not in body:
        return _violation("no [DONE]")
    return _complete(ask, body)


def _complete(ask: Ask, body: bytes) -> Outcome:
    if not _FINISH_REASON.search(body):
        return _violation("no finish reason")
    counts = _OUTPUT_TOKENS.findall(body)
    if not counts:
        return _violation("no usage")
    if int(counts[-1]) != ask.max_tokens:
        return _violation("another number of tokens")
    return Outcome(Kind.COMPLETE, "stream" if ask.streams else "whole", int(counts[-1]))


def _error_code(body: bytes) -> str | None:
    """The code of OpenAI's error body, if it also has a message."""
    try:
        error = json.loads(body)["error"]
        return str(error["code"] or error["type"]) if error["message"] else None
    except (ValueError, KeyError, TypeError):
        return None


def _violation(reason: str) -> Outcome:
    return Outcome(Kind.VIOLATION, reason)


class _Received:
    """Bytes in the place of the socket of which `HTTPResponse` wants nothing but a file."""

    def __init__(self, received: bytes) -> None:
        self._received = received

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._received)
