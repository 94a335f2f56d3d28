"""`cache_salt`: who shares cached prefixes with whom."""

import pytest

from tests.server.serving import Site


@pytest.mark.parametrize("salt", ["a", "é" * 256])
async def test_every_sequence_of_a_request_has_its_salt(site: Site, salt: str) -> None:
    assert (await site.chat(cache_salt=salt)).status_code == 200
    assert (await site.complete(prompt=["a", "b"], n=2, cache_salt=salt)).status_code == 200
    assert [request.cache_salt for request in site.backend.requests] == [salt] * 5


async def test_without_one_there_is_none(site: Site) -> None:
    await site.chat()
    await site.complete(cache_salt=None)
    assert [request.cache_salt for request in site.backend.requests] == [""] * 2


@pytest.mark.parametrize("salt", ["", "secret" * 50])
async def test_a_refusal_does_not_repeat_it(site: Site, salt: str) -> None:
    response = await site.chat(cache_salt=salt)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == "cache_salt" and "secret" not in error["message"]
