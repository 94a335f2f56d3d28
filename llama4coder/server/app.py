"""The endpoint as one FastAPI application; this module only wires."""

from collections.abc import Sequence
from pathlib import Path

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from llama4coder.backend import GenerationBackend
from llama4coder.config import ServerConfig
from llama4coder.errors import ContextTooLong, Llama4CoderError, Overloaded
from llama4coder.keys.key_store import KeyStore
from llama4coder.keys.quota import LimitKind, Quotas
from llama4coder.keys.ring import KeyRefusal
from llama4coder.obs.backend import MeasuredBackend
from llama4coder.obs.metrics import Metrics
from llama4coder.server.anthropic.messages import messages_router
from llama4coder.server.current import CurrentGeneration
from llama4coder.server.description import description_router
from llama4coder.server.embeddings import embeddings_router
from llama4coder.server.endpoint import Endpoint
from llama4coder.server.error_bodies import error_response
from llama4coder.server.errors import Refusal, to_refusal
from llama4coder.server.gate import Gate, Locks
from llama4coder.server.health import health_router
from llama4coder.server.limits import BodyLimit
from llama4coder.server.llama_cpp.infill import infill_router
from llama4coder.server.mistral.fim import fim_router
from llama4coder.server.observe import Barrier, Observe, RequestId
from llama4coder.server.ollama.routes import ollama_router
from llama4coder.server.openai.chat import chat_router
from llama4coder.server.openai.completions import completions_router
from llama4coder.server.openai.models import models_router
from llama4coder.server.preprocess import Preprocessor
from llama4coder.server.rate_headers import RATE_HEADERS
from llama4coder.server.responses.routes import responses_router
from llama4coder.server.slow_clients import SlowClients
from llama4coder.server.tenant import CurrentTenant, TenantBackend
from llama4coder.server.tokenize import tokenize_router
from llama4coder.tokenizer.chat_template import ChatTemplate
from llama4coder.tokenizer.tokenizer import Tokenizer
from llama4coder.types import ServedModel

_REJECTION_REASONS = {Overloaded: "queue_full", ContextTooLong: "too_long"}


def create_app(
    backend: GenerationBackend,
    model: ServedModel,
    tokenizer: Tokenizer,
    chat_template: ChatTemplate | None,
    config: ServerConfig,
    metrics: Metrics,
) -> FastAPI:
    """The endpoint over `backend`, in every dialect; holds no state of its own and needs no lifespan events."""
    tenant, current = CurrentTenant(), CurrentGeneration()
    backend = MeasuredBackend(backend, metrics)
    if config.keys_file is not None:
        backend = TenantBackend(backend, tenant, shares_prefixes=config.share_prefixes)
    preprocessor = Preprocessor(model, tokenizer, chat_template, config, tenant)
    endpoint = Endpoint(backend, model, tokenizer, preprocessor, config, tenant, current)
    # The documentation pages would load their scripts from the internet, and FastAPI's document would know no bodies.
    app = FastAPI(title="llama4coder", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    for router in (
        *(chat_router, completions_router, responses_router, models_router, tokenize_router),
        *(infill_router, fim_router, messages_router, ollama_router, embeddings_router, health_router),
    ):
        app.include_router(router(endpoint))
    app.include_router(description_router(app.routes))
    _handle_errors(app, metrics)
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, max_body_bytes=config.max_body_bytes)
    app.add_middleware(SlowClients, timeout_s=config.client_timeout_s)
    if config.keys_file is not None:
        num_processes = 1 if config.limits_divided_by == "auto" else config.limits_divided_by
        names = (model.name, *model.aliases)
        locks = Locks(
            KeyStore(Path(config.keys_file)), Quotas(num_processes), tenant, names, metrics, config.tenant_metrics
        )
        for reason in (*KeyRefusal, *LimitKind):
            metrics.key_refusals.labels(reason=reason.value)  # shown from the start: a first one is a rise
        app.add_middleware(Gate, locks=locks)
    app.add_middleware(Observe, metrics=metrics, model_name=model.name, current=current)
    app.add_middleware(Barrier)
    app.add_middleware(RequestId)
    if config.cors_origins:
        _allow_origins(app, config.cors_origins)
    return app


def _allow_origins(app: FastAPI, origins: Sequence[str]) -> None:
    """For pages that hold a key of their own: no cookies are sent along, which would be anybody's."""
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=["x-request-id", "retry-after", *RATE_HEADERS],
    )


def _handle_errors(app: FastAPI, metrics: Metrics) -> None:
    @app.exception_handler(Llama4CoderError)
    async def refuse(request: Request, error: Llama4CoderError) -> Response:
        for kind, reason in _REJECTION_REASONS.items():
            if isinstance(error, kind):
                metrics.admission_rejections.labels(reason=reason).inc()
        return error_response(to_refusal(error), request.url.path, request.state.request_id)

    @app.exception_handler(HTTPException)
    async def no_such_route(request: Request, error: HTTPException) -> Response:
        message = {404: "There is no endpoint at this path.", 405: "This endpoint does not know this HTTP method."}
        text = message.get(error.status_code, error.detail)
        refusal = Refusal(error.status_code, text, "invalid_request_error", None)
        response = error_response(refusal, request.url.path, request.state.request_id)
        response.headers.update(error.headers or {})
        return response
