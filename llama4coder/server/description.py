"""The endpoint's own description: an OpenAPI 3.1 document, made of the routes and of the models that they read."""

import re
from collections.abc import Mapping, Sequence
from functools import cache

import msgspec
from fastapi import APIRouter
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from starlette.responses import Response
from starlette.routing import BaseRoute

from llama4coder import __version__
from llama4coder.server.body import BodyReader, RequestModel

PATH = "/openapi.json"
_REFERENCE = "#/components/schemas/{model}"
_MODE: JsonSchemaMode = "validation"
_PARAMETER = re.compile(r"{(\w+)}")
_RESPONSES = {
    "200": {"description": "The answer in the dialect of this endpoint, as JSON or, where asked for, as a stream."},
    "default": {"description": "What was wrong, in the dialect of this endpoint."},
}


def description_router(routes: Sequence[BaseRoute]) -> APIRouter:
    """Serves the document of what `routes` holds by then; there is no page that shows it."""
    router = APIRouter()

    @cache  # few ask for it, and making it takes longer than all else that an app is made of
    def document() -> bytes:
        return msgspec.json.encode(describe(routes))

    @router.get(PATH)
    def openapi() -> Response:  # in a thread, where streams do not wait for it
        return Response(document(), media_type="application/json")

    return router


def describe(routes: Sequence[BaseRoute]) -> Mapping[str, object]:
    """The document as JSON has it."""
    every = (context.original_route for context in iter_route_contexts(routes))
    described = [route for route in every if isinstance(route, APIRoute) and route.include_in_schema]
    models = {model for route in described if (model := body_model(route)) is not None}
    ordered = sorted(models, key=lambda model: f"{model.__module__}.{model.__name__}")
    schemas, definitions = models_json_schema([(model, _MODE) for model in ordered], ref_template=_REFERENCE)
    paths: dict[str, dict[str, object]] = {}
    for route in described:
        model = body_model(route)
        body = None if model is None else _json_body(schemas[model, _MODE])
        for method in sorted(route.methods or ()):
            paths.setdefault(route.path_format, {})[method.lower()] = _operation(route, method, body)
    return {
        "openapi": "3.1.0",
        "info": {"title": "llama4coder", "version": __version__},
        "paths": paths,
        "components": {"schemas": definitions.get("$defs", {})},
    }


def body_model(route: APIRoute) -> type[RequestModel] | None:
    """What a route reads its body as; None if it has no use for one."""
    readers = (dependant.call for dependant in route.dependant.dependencies)
    return next((reader.model for reader in readers if isinstance(reader, BodyReader)), None)


def _operation(route: APIRoute, method: str, body: Mapping[str, object] | None) -> Mapping[str, object]:
    place = re.sub(r"\W+", "_", route.path_format).strip("_")
    operation: dict[str, object] = {
        "operationId": f"{method.lower()}_{place}".rstrip("_"),
        "summary": route.summary or route.name.replace("_", " ").capitalize(),
        "responses": _RESPONSES,
    }
    if names := _PARAMETER.findall(route.path_format):
        operation["parameters"] = [_path_parameter(name) for name in names]
    if body is not None:
        operation["requestBody"] = body
    return operation


def _json_body(schema: Mapping[str, object]) -> Mapping[str, object]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _path_parameter(name: str) -> Mapping[str, object]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
