"""Embeddings are for models that make them, and no such model is served."""

import openai
import pytest

from tests.server.serving import Address, Site

WORDS = "no embedding model is deployed"


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/rerank", "/rerank"])
async def test_openais_dialect(site: Site, path: str) -> None:
    response = await site.client.post(path, json={"model": "tiny", "input": "x"})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert WORDS in error["message"]
    assert site.metric("requests_total", api="embeddings", model="org/tiny", code="404") == 1


@pytest.mark.parametrize("path", ["/api/embed", "/api/embeddings"])
async def test_ollamas_dialect(site: Site, path: str) -> None:
    response = await site.client.post(path, json={"model": "tiny", "input": "x"})
    assert response.status_code == 404
    assert WORDS in response.json()["error"]


async def test_openais_client_is_told(address: Address) -> None:
    async with openai.AsyncOpenAI(base_url=f"{address.url}/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(openai.NotFoundError, match=WORDS):
            await client.embeddings.create(model="tiny", input="x")
