"""Each dialect's error body and status."""

from collections.abc import Mapping
from dataclasses import replace

import msgspec
from starlette.responses import Response

from llama4coder.keys.scope import Scope
from llama4coder.server.dialect import dialect_at
from llama4coder.server.errors import Refusal

_LLAMA_CPP_TYPES: Mapping[str, str] = {  # by code; the others have OpenAI's types
    "fim_unsupported": "not_supported_error",
    "unsupported_option": "not_supported_error",
    "context_length_exceeded": "exceed_context_size_error",
    "model_not_found": "not_found_error",
    "invalid_api_key": "authentication_error",
    "insufficient_scope": "permission_error",
    "overloaded": "unavailable_error",
    "queue_timeout": "unavailable_error",
    "unavailable": "unavailable_error",
}
_ANTHROPIC_TYPES: Mapping[int, str] = {  # by status
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
_UNAUTHORIZED = 401
_ANTHROPIC_STATUSES: Mapping[int, int] = {503: 529}


def openai_error(refusal: Refusal) -> bytes:
    """OpenAI's error body."""
    error = {"message": refusal.message, "type": refusal.kind, "param": refusal.param, "code": refusal.code}
    return msgspec.json.encode({"error": error})


def llama_cpp_error(refusal: Refusal) -> bytes:
    """The error body of llama.cpp's server, whose `code` is the HTTP status."""
    kind = _LLAMA_CPP_TYPES.get(refusal.code or "", refusal.kind)
    return msgspec.json.encode({"error": {"code": refusal.status, "message": refusal.message, "type": kind}})


def ollama_error(refusal: Refusal) -> bytes:
    """Ollama's error body, which is the message alone."""
    return msgspec.json.encode({"error": _naming(refusal)})


def anthropic_error(refusal: Refusal, request_id: str) -> bytes:
    """Anthropic's error body."""
    message = _naming(refusal)
    if refusal.code == "context_length_exceeded":
        # By these words Claude Code knows that it has to compact the conversation.
        message = f"prompt is too long: {message}"
    error = {"type": _ANTHROPIC_TYPES.get(refusal.status, "api_error"), "message": message}
    return msgspec.json.encode({"type": "error", "error": error, "request_id": request_id})


def _naming(refusal: Refusal) -> str:
    """The message, for bodies that have no other place for the field that must change."""
    param = refusal.param
    if param is None or param in refusal.message:
        return refusal.message
    return f"{param}: {refusal.message}"


def openai_response(refusal: Refusal) -> Response:
    """The refusal as a whole HTTP response."""
    return _response(refusal, openai_error(refusal))


def error_response(refusal: Refusal, path: str, request_id: str) -> Response:
    """The same in the dialect that is spoken at `path`."""
    match dialect_at(path):
        case Scope.LLAMA_CPP:
            return _response(refusal, llama_cpp_error(refusal))
        case Scope.OLLAMA:
            return _response(refusal, ollama_error(refusal))
        case Scope.ANTHROPIC:
            status = _ANTHROPIC_STATUSES.get(refusal.status, refusal.status)
            return _response(replace(refusal, status=status), anthropic_error(refusal, request_id))
        case _:
            return openai_response(refusal)


def _response(refusal: Refusal, body: bytes) -> Response:
    headers = {} if refusal.retry_after_s is None else {"retry-after": str(refusal.retry_after_s)}
    if refusal.status == _UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    return Response(body, refusal.status, headers, "application/json")
