"""The one mapping from an error to what a client sees of it; `error_bodies` has each dialect's body for it."""

import math
from dataclasses import dataclass

from llama4coder.errors import (
    BodyTooLarge,
    BodyTooSlow,
    ContextTooLong,
    FimUnsupported,
    Forbidden,
    InvalidRequest,
    ModelNotFound,
    NotKept,
    OutOfScope,
    Overloaded,
    QueueTimeout,
    RateLimited,
    RequestError,
    ToolsUnsupported,
    Unauthenticated,
    Unavailable,
    UnsupportedOption,
)

_UNAVAILABLE_RETRY_AFTER_S = 5
_BAD_REQUESTS: dict[type[RequestError], tuple[int, str | None]] = {  # the first that fits
    FimUnsupported: (400, "fim_unsupported"),
    ToolsUnsupported: (400, "tools_unsupported"),
    UnsupportedOption: (400, "unsupported_option"),
    InvalidRequest: (400, "invalid_value"),
    ContextTooLong: (400, "context_length_exceeded"),
    ModelNotFound: (404, "model_not_found"),
    NotKept: (404, "not_kept"),
    BodyTooLarge: (413, "body_too_large"),
    BodyTooSlow: (408, "body_too_slow"),
    Forbidden: (403, "forbidden"),
    Unauthenticated: (401, "invalid_api_key"),
    OutOfScope: (403, "insufficient_scope"),
    RequestError: (400, None),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as a client sees it, whatever the dialect; `message` names no internals and holds no content."""

    status: int
    message: str
    kind: str
    code: str | None
    param: str | None = None
    retry_after_s: int | None = None


def to_refusal(error: BaseException) -> Refusal:
    """What a client is told about `error`; whatever we did not raise on purpose is a 500 without details."""
    match error:
        case RequestError():
            return _bad_request(error)
        case Overloaded():
            retry_after_s = _whole_seconds(error.retry_after_s)
            return Refusal(429, str(error), "rate_limit_error", "overloaded", retry_after_s=retry_after_s)
        case RateLimited():
            retry_after_s = _whole_seconds(error.retry_after_s)
            return Refusal(429, str(error), "rate_limit_error", "rate_limit_exceeded", retry_after_s=retry_after_s)
        case QueueTimeout():
            retry_after_s = _whole_seconds(error.retry_after_s)
            return Refusal(503, str(error), "server_error", "queue_timeout", retry_after_s=retry_after_s)
        case Unavailable():
            return Refusal(503, str(error), "server_error", "unavailable", retry_after_s=_UNAVAILABLE_RETRY_AFTER_S)
        case _:
            return Refusal(500, "The server failed while it worked on this request.", "server_error", "internal_error")


def _whole_seconds(retry_after_s: float) -> int:
    return max(1, math.ceil(retry_after_s))


def _bad_request(error: RequestError) -> Refusal:
    status, code = next(answer for kind, answer in _BAD_REQUESTS.items() if isinstance(error, kind))
    return Refusal(status, str(error), "invalid_request_error", code, error.param)
