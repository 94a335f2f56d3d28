"""Pages of other origins: none by default, and named ones alone."""

import pytest
from pydantic import ValidationError

from llama4coder.config import ServerConfig
from tests.server.serving import MakeSite, Site

ORIGIN = "https://chat.example.org"
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}


async def test_no_page_may_call_by_default(site: Site) -> None:
    for origin in (ORIGIN, "null", "http://127.0.0.1:8000"):
        preflight = await site.client.options("/v1/chat/completions", headers={"origin": origin, **PREFLIGHT})
        assert preflight.status_code == 405
        answer = await site.client.get("/v1/models", headers={"origin": origin})
        for response in (preflight, answer):
            assert not any(name.startswith("access-control") for name in response.headers)


async def test_named_origins_may_call_even_to_be_refused(make_site: MakeSite) -> None:
    site = make_site(cors_origins=[ORIGIN])
    preflight = await site.client.options("/v1/chat/completions", headers={"origin": ORIGIN, **PREFLIGHT})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert "access-control-allow-credentials" not in preflight.headers
    refused = await site.client.post("/v1/completions", content=b"", headers={"origin": ORIGIN})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (400, ORIGIN)
    assert "x-request-id" in refused.headers["access-control-expose-headers"]
    for other in (ORIGIN + ".evil.org", ORIGIN.replace("https", "http"), "null"):
        answer = await site.client.get("/v1/models", headers={"origin": other})
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("origin", ["*", "https://*.a.org", "null", ORIGIN + "/", ORIGIN + "/path", "a.org"])
def test_only_exact_origins_can_be_named(origin: str) -> None:
    with pytest.raises(ValidationError, match="cors_origins"):
        ServerConfig(cors_origins=(origin,))
