"""What is served, as Ollama's clients look for it: `/api/version`, `/api/tags`, `/api/ps` and `/api/show`."""

import msgspec
from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from llama4coder.errors import InvalidRequest
from llama4coder.server.body import JsonBody
from llama4coder.server.endpoint import Endpoint
from llama4coder.server.ollama.describe import capabilities_of, loaded_entry, model_entry, show_reply
from llama4coder.server.ollama.replies import ModelEntries, VersionReply
from llama4coder.server.ollama.schemas import ShowRequest

_VERSION = "0.13.0"  # of the API that is spoken here: clients refuse a server whose Ollama would be too old


def catalogue_router(endpoint: Endpoint) -> APIRouter:
    """The routes over one endpoint: the served name and its aliases, all loaded for good."""
    router = APIRouter()
    preprocessor, model = endpoint.preprocessor, endpoint.model
    names = (model.name, *model.aliases)
    capabilities = capabilities_of(preprocessor)

    @router.api_route("/", methods=["GET", "HEAD"])
    async def root() -> Response:
        return PlainTextResponse("llama4coder is running")

    @router.get("/api/version")
    async def version() -> Response:
        return _json(VersionReply(_VERSION))

    @router.get("/api/tags")
    async def tags() -> Response:
        return _json(ModelEntries([model_entry(model, name, capabilities) for name in names]))

    @router.get("/api/ps")
    async def running() -> Response:
        return _json(ModelEntries([loaded_entry(model, name, capabilities) for name in names]))

    @router.post("/api/show")
    async def show(body: JsonBody[ShowRequest]) -> Response:
        name = body.model or body.name
        if not name:
            raise InvalidRequest("the field 'model' is missing", "model")
        preprocessor.check_model(name)
        return _json(show_reply(model, capabilities))

    return router


def _json(reply: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(reply), media_type="application/json")
