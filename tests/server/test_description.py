"""`GET /openapi.json` describes every route by the model that it really reads."""

from typing import Any

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from jsonschema import Draft202012Validator

from llama4coder.server.description import PATH, body_model
from tests.server.serving import Site

# Routes that act on no body, though their method could have one.
WITHOUT_BODY = (
    *("/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete", "/api/blobs/{digest}"),
    *("/v1/embeddings", "/api/embed", "/api/embeddings", "/v1/rerank", "/rerank", "/v1/responses/{response_id}/cancel"),
)
RIGHT = {
    "/v1/chat/completions": [
        {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]},
        {"model": "tiny", "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}], "stop": "x"},
        {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "logit_bias": {"5": 1.5}, "stop": ["x"]},
    ],
    "/v1/completions": [
        {"model": "tiny", "prompt": prompt, "max_tokens": 2} for prompt in ("a", ["a", "b"], [5, 6], [[5], [6, 7]])
    ],
    "/detokenize": [{"tokens": [5]}],
}
WRONG: dict[str, list[object]] = {
    "/v1/chat/completions": [{"model": "tiny"}, {"model": 5, "messages": []}, []],
    "/v1/completions": [{"model": "tiny", "prompt": 7}, {"model": "tiny", "prompt": "a", "temperature": 3}],
    "/detokenize": [{"tokens": "5"}],
}


@pytest.fixture
async def document(site: Site) -> Any:
    response = await site.client.get(PATH)
    assert response.headers["content-type"] == "application/json"
    return response.json()


def validator(document: Any, path: str) -> Draft202012Validator:
    schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator({**schema, "components": document["components"]})


async def test_every_route_is_described(site: Site, document: Any) -> None:
    assert document["openapi"].startswith("3.1")
    routes = [context.original_route for context in iter_route_contexts(site.app.routes)]
    described = [
        (route.path_format, method) for route in routes if isinstance(route, APIRoute) for method in route.methods
    ]
    found = [(path, method.upper()) for path, methods in document["paths"].items() for method in methods]
    assert sorted(found) == sorted(described)
    ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(set(ids)) == len(ids)


async def test_every_route_that_takes_a_body_declares_its_model(site: Site) -> None:
    for context in iter_route_contexts(site.app.routes):
        route = context.original_route
        if isinstance(route, APIRoute) and "POST" in (route.methods or ()) and route.path_format not in WITHOUT_BODY:
            assert body_model(route) is not None, f"{route.path_format}: declare `body: JsonBody[...]`"


@pytest.mark.parametrize("path", RIGHT)
async def test_the_document_and_the_endpoint_agree(site: Site, document: Any, path: str) -> None:
    schema = validator(document, path)
    for body in RIGHT[path]:
        assert (await site.client.post(path, json=body)).status_code == 200
        assert schema.is_valid(body), body
    for wrong in WRONG[path]:
        assert (await site.client.post(path, json=wrong)).status_code == 400
        assert not schema.is_valid(wrong), wrong


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_there_is_no_page_for_it(site: Site, path: str) -> None:
    assert (await site.client.get(path)).status_code == 404
