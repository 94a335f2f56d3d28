"""Where clients look for embeddings and rankings, which take models of their own: there are none here."""

from fastapi import APIRouter
from starlette.responses import Response

from llama4coder.errors import ModelNotFound
from llama4coder.server.endpoint import Endpoint

_PATHS = ("/v1/embeddings", "/api/embed", "/api/embeddings", "/v1/rerank", "/rerank")


def embeddings_router(endpoint: Endpoint) -> APIRouter:
    """The routes, whatever the endpoint serves; they read no body."""
    router = APIRouter()

    async def refuse() -> Response:
        raise ModelNotFound(
            "no embedding model is deployed here, and none that ranks; leave that to another server, or switch it off",
            "model",
        )

    for path in _PATHS:
        router.add_api_route(path, refuse, methods=["POST"])
    return router
