"""What surrounds every request, as ASGI middleware: its id, metrics and record, and the last barrier for errors."""

import asyncio
import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llama4coder.faults import log_fault
from llama4coder.obs.metrics import Metrics
from llama4coder.obs.requests import GenerationRecord, RequestObserver, RequestRecord
from llama4coder.server.current import CurrentGeneration
from llama4coder.server.dialect import dialect_at
from llama4coder.server.error_bodies import error_response
from llama4coder.server.errors import to_refusal
from llama4coder.server.sse import STREAM_TYPES

_log = logging.getLogger(__name__)

_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_CLIENT_GONE = 499
_API_OF_ROUTE = {
    "/v1/chat/completions": "chat_completions",
    "/v1/completions": "completions",
    "/beta/completions": "completions",
    "/v1/responses": "responses",
    "/v1/responses/input_tokens": "count_tokens",
    "/v1/embeddings": "embeddings",
    "/v1/rerank": "embeddings",
    "/rerank": "embeddings",
    "/api/embed": "embeddings",
    "/api/embeddings": "embeddings",
    "/v1/fim/completions": "fim",
    "/infill": "infill",
    "/v1/models": "models",
    "/v1/models/{model_id:path}": "models",
    "/tokenize": "tokenize",
    "/detokenize": "detokenize",
    "/v1/messages": "messages",
    "/v1/messages/count_tokens": "count_tokens",
    "/api/chat": "ollama_chat",
    "/api/generate": "ollama_generate",
    "/api/show": "ollama_models",
    "/api/tags": "ollama_models",
    "/api/ps": "ollama_models",
}
_UNCOUNTED_PATHS = frozenset({"/health", "/ready", "/metrics"})
_RECORD = "request_record"  # in the scope's state, for those who surround the application


class RequestId:
    """Gives every response an id: the client's own `x-request-id` if it is a sane one, else a new one.

    It is in the scope's state as well. Anthropic's clients look for it under their own name.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update({"x-request-id": request_id, "request-id": request_id})
            await send(message)

        await self._app(scope, receive, with_id)


class Barrier:
    """Turns what nobody has caught into a 500, and ends quietly where the client has left.

    Neither the client nor the log gets to see the error's message: it might hold a client's text.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
            return
        except ClientDisconnect:
            response = Response(status_code=_CLIENT_GONE)  # nobody reads it, but servers want an answer
        except Exception as error:  # noqa: BLE001 - the last barrier
            log_fault(_log, "a request failed", error)
            response = error_response(to_refusal(error), scope["path"], scope["state"]["request_id"])
        if not started:
            await response(scope, receive, send)


class Observe:
    """Counts requests, their durations, open streams, and clients that left; leaves a record for `Tell`."""

    def __init__(self, app: ASGIApp, metrics: Metrics, model_name: str, current: CurrentGeneration) -> None:
        self._app = app
        self._metrics = metrics
        self._model_name = model_name
        self._current = current

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _UNCOUNTED_PATHS:
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(self._metrics, send)
        with self._current.watching() as watched:
            try:
                await self._app(scope, receive, exchange.send)
            except (ClientDisconnect, asyncio.CancelledError):
                exchange.status = _CLIENT_GONE
                self._metrics.client_disconnects.inc()
                raise
            finally:
                generation = None if watched.generation is None else watched.generation.record
                record = exchange.record(scope, self._model_name, generation)
                exchange.finish(record)
                scope["state"][_RECORD] = record


class Tell:
    """Tells an observer of every request that `Observe` has seen; surrounds the whole application."""

    def __init__(self, app: ASGIApp, observer: RequestObserver) -> None:
        self._app = app
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            record = scope.get("state", {}).get(_RECORD)
            if record is not None:
                self._observer.on_request(record)


class _Exchange:
    def __init__(self, metrics: Metrics, send: Send) -> None:
        self.status = 500  # until something else has been sent
        self._metrics = metrics
        self._send = send
        self._began_unix_s = time.time()
        self._began_s = time.perf_counter()
        self._is_stream = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            content_type = Headers(raw=list(message.get("headers", ()))).get("content-type", "")
            if content_type.startswith(STREAM_TYPES):
                self._is_stream = True
                self._metrics.active_streams.inc()
        await self._send(message)

    def record(self, scope: Scope, model_name: str, generation: GenerationRecord | None) -> RequestRecord:
        """The request as it stands at its end."""
        trace_parent = Headers(scope=scope).get("traceparent", "")
        return RequestRecord(
            # The router notes the route in the scope, if it comes so far; paths would be an open set of labels.
            api=_API_OF_ROUTE.get(str(getattr(scope.get("route"), "path", scope["path"])), "other"),
            dialect=dialect_at(scope["path"]).value,
            model=model_name,
            request_id=scope["state"]["request_id"],
            trace_parent=trace_parent if _TRACE_PARENT.fullmatch(trace_parent) else None,
            status=self.status,
            is_stream=self._is_stream,
            began_unix_s=self._began_unix_s,
            began_s=self._began_s,
            ended_s=time.perf_counter(),
            generation=generation,
        )

    def finish(self, record: RequestRecord) -> None:
        if self._is_stream:
            self._metrics.active_streams.dec()
        self._metrics.requests.labels(api=record.api, model=record.model, code=str(record.status)).inc()
        self._metrics.request_duration.labels(api=record.api).observe(record.ended_s - record.began_s)
