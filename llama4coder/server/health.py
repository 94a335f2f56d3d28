"""For operators: liveness, readiness and metrics."""

import asyncio

import msgspec
from fastapi import APIRouter
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.responses import Response

from llama4coder.errors import DeadlineExceeded
from llama4coder.server.endpoint import Endpoint

_GRACE_S = 1.0  # the backend's own deadline comes first, since its error says more


def health_router(endpoint: Endpoint) -> APIRouter:
    """`/health` answers while the process lives; `/ready` only after a real token has gone through every rank."""
    router = APIRouter()

    @router.get("/health")
    async def health() -> Response:
        return Response(msgspec.json.encode({"status": "ok"}), media_type="application/json")

    @router.get("/ready")
    async def ready() -> Response:
        timeout_s = endpoint.config.ready_timeout_s
        try:
            async with asyncio.timeout(timeout_s + _GRACE_S):
                await endpoint.backend.probe(timeout_s)
        except TimeoutError:
            raise DeadlineExceeded(f"no token came back within {timeout_s:g} s") from None
        return Response(msgspec.json.encode({"status": "ready"}), media_type="application/json")

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(await endpoint.backend.metrics(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return router
