"""Who waits for whom, by our own field and by OpenAI's."""

import pytest

from llama4coder.types import Priority
from tests.server.serving import Site

INTERACTIVE, BATCH = Priority.INTERACTIVE, Priority.BATCH


@pytest.mark.parametrize(
    ("fields", "priority"),
    [
        ({}, INTERACTIVE),
        ({"priority": None, "service_tier": None}, INTERACTIVE),
        ({"priority": "interactive"}, INTERACTIVE),
        ({"priority": "batch"}, BATCH),
        ({"service_tier": "auto"}, INTERACTIVE),
        ({"service_tier": "default"}, INTERACTIVE),
        ({"service_tier": "priority"}, INTERACTIVE),
        ({"service_tier": "flex"}, BATCH),
        ({"priority": "batch", "service_tier": "flex"}, BATCH),
        ({"priority": "batch", "service_tier": "auto"}, BATCH),
    ],
)
async def test_the_priority_reaches_every_sequence(site: Site, fields: dict[str, str], priority: Priority) -> None:
    for response in (await site.chat(n=2, **fields), await site.complete(prompt=["a", "b"], **fields)):
        assert response.status_code == 200, response.text
    assert [request.priority for request in site.backend.requests] == [priority] * 4


@pytest.mark.parametrize(
    "fields",
    [{"priority": "interactive", "service_tier": "flex"}, {"priority": "batch", "service_tier": "priority"}],
)
async def test_fields_that_contradict_each_other_are_refused(site: Site, fields: dict[str, str]) -> None:
    for response in (await site.chat(**fields), await site.complete(**fields)):
        assert response.status_code == 400
        assert response.json()["error"]["param"] == "service_tier"
    assert site.backend.requests == []
