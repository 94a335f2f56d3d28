"""All of Ollama's routes."""

from fastapi import APIRouter

from llama4coder.server.endpoint import Endpoint
from llama4coder.server.ollama.catalogue import catalogue_router
from llama4coder.server.ollama.chat import chat_router
from llama4coder.server.ollama.generate import generate_router
from llama4coder.server.ollama.managed import managed_router


def ollama_router(endpoint: Endpoint) -> APIRouter:
    """The whole dialect over one endpoint."""
    router = APIRouter()
    for part in (catalogue_router(endpoint), chat_router(endpoint), generate_router(endpoint), managed_router()):
        router.include_router(part)
    return router
