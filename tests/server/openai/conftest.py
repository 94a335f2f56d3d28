"""Endpoints over models that call tools."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.server.serving import Site
from tests.server.tool_sites import SPECIAL, Vocabulary, make_tool_site

MakeToolSite = Callable[..., Site]


@pytest.fixture
def make_site_of(tmp_path: Path) -> MakeToolSite:
    def make(family: str = "hermes", vocabulary: Vocabulary = SPECIAL, **config: object) -> Site:
        return make_tool_site(tmp_path, family, vocabulary, **config)

    return make
