"""`top_blocks`: what a request, a deployment or nobody says."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from llama4coder.types import ServedModel
from tests.server.serving import MODEL, Site

BOUNDED = replace(MODEL, block_bounds=True)
SPARSE = replace(BOUNDED, top_blocks=64)


@pytest.mark.parametrize(
    ("model", "value", "top_blocks"),
    [(MODEL, None, None), (BOUNDED, None, None), (BOUNDED, 4, 4), (SPARSE, None, 64), (SPARSE, 16, 16)],
)
async def test_the_request_comes_before_the_deployment(
    make_site: Callable[..., Site], model: ServedModel, value: int | None, top_blocks: int | None
) -> None:
    site = make_site(model=model)
    for response in (await site.chat(top_blocks=value), await site.complete(top_blocks=value)):
        assert response.status_code == 200, response.text
    assert [request.top_blocks for request in site.backend.requests] == [top_blocks] * 2


async def test_without_bounds_it_is_refused_by_name(site: Site) -> None:
    for response in (await site.chat(top_blocks=8), await site.complete(top_blocks=8)):
        assert response.status_code == 400
        assert response.json()["error"]["param"] == "top_blocks"
        assert "engine.block_bounds" in response.json()["error"]["message"]
    assert not site.backend.requests
