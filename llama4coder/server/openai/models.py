"""`GET /v1/models` and `GET /v1/models/{id}`."""

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from llama4coder.server.endpoint import Endpoint
from llama4coder.server.openai.replies import ModelList, ModelReply


def models_router(endpoint: Endpoint) -> APIRouter:
    """The model list: the served name, then its aliases, each with what the model can do as it is served."""
    router = APIRouter()
    model = endpoint.model

    def describe(name: str) -> ModelReply:
        return ModelReply(
            id=name,
            created=model.created_unix_s,
            max_model_len=model.context_length,
            context_length=model.context_length,
            capabilities=[*model.capabilities, *endpoint.preprocessor.chat_capabilities],
            root=model.name,
        )

    @router.get("/v1/models")
    async def list_models() -> Response:
        names = (model.name, *model.aliases)
        return _json(ModelList([describe(name) for name in names]))

    @router.get("/v1/models/{model_id:path}")
    async def get_model(model_id: str) -> Response:
        endpoint.preprocessor.check_model(model_id)
        return _json(describe(model_id))

    return router


def _json(reply: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(reply), media_type="application/json")
