"""What Ollama's clients may ask of a server of their own, and not of this one."""

from fastapi import APIRouter
from starlette.responses import Response

from llama4coder.errors import Forbidden

_MANAGING_PATHS = ("pull", "push", "create", "copy", "delete", "blobs/{digest:path}")


def managed_router() -> APIRouter:
    """Refuses to change the models, and says why."""
    router = APIRouter()

    async def refuse() -> Response:
        raise Forbidden("models are managed by the operator of this deployment, which has no way out to a registry")

    for path in _MANAGING_PATHS:
        router.add_api_route(f"/api/{path}", refuse, methods=["GET", "HEAD", "POST", "PUT", "DELETE"])
    return router
