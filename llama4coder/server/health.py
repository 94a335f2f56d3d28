"""For operators: liveness, readiness and metrics."""

import asyncio
import math
import time

import msgspec
from fastapi import APIRouter
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.responses import Response

from llama4coder.backend import GenerationBackend
from llama4coder.errors import DeadlineExceeded
from llama4coder.server.endpoint import Endpoint

_PROOF_S = 0.5  # a token proves that the next one would come, too
_GRACE_S = 1.0  # the backend's own deadline comes first, since its error says more


class Readiness:
    """Asks for one token at a time, whoever asks how often: probes need no key, and come before the queue."""

    def __init__(self, backend: GenerationBackend, timeout_s: float) -> None:
        self._backend = backend
        self._timeout_s = timeout_s
        self._probing: asyncio.Task[None] | None = None
        self._proved_s = -math.inf

    async def check(self) -> None:
        """Raise `Unavailable` unless a token came back just now."""
        if time.monotonic() - self._proved_s < _PROOF_S:
            return
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._probe())
        await asyncio.shield(self._probing)

    async def _probe(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s + _GRACE_S):
                await self._backend.probe(self._timeout_s)
        except TimeoutError:
            raise DeadlineExceeded(f"no token came back within {self._timeout_s:g} s") from None
        self._proved_s = time.monotonic()


def health_router(endpoint: Endpoint) -> APIRouter:
    """`/health` answers while the process lives; `/ready` only after a real token has gone through every rank."""
    router = APIRouter()
    readiness = Readiness(endpoint.backend, endpoint.config.ready_timeout_s)

    @router.get("/health")
    async def health() -> Response:
        return Response(msgspec.json.encode({"status": "ok"}), media_type="application/json")

    @router.get("/ready")
    async def ready() -> Response:
        await readiness.check()
        return Response(msgspec.json.encode({"status": "ready"}), media_type="application/json")

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(await endpoint.backend.metrics(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return router
