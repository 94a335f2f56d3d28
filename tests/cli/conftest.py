"""A scripted endpoint per test."""

from collections.abc import Iterator

import pytest

from tests.cli.scripted_endpoint import Endpoint, serve_script


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serve_script() as running:
        yield running
