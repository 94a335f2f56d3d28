"""The endpoint under test."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from llama4coder.config import ServerConfig
from llama4coder.obs.metrics import Metrics
from llama4coder.server.app import create_app
from llama4coder.tokenizer.chat_template import ChatTemplate
from llama4coder.tokenizer.tokenizer import Tokenizer
from llama4coder.types import ServedModel
from tests.server.fim_site import fim_site, fim_tokenizer
from tests.server.serving import MODEL, Address, MakeSite, Site, listening
from tests.support.fake_backend import FakeBackend


@pytest.fixture(scope="session")
def tokenizer(tiny_folder: Path) -> Tokenizer:
    return Tokenizer.from_folder(tiny_folder)


@pytest.fixture
def make_site(tiny_folder: Path, tokenizer: Tokenizer) -> Iterator[MakeSite]:
    def make(
        *,
        model: ServedModel = MODEL,
        has_template: bool = True,
        tokenizer: Tokenizer = tokenizer,
        backend: Any = None,
        **config: Any,
    ) -> Site:
        registry = CollectorRegistry()
        template = ChatTemplate.from_folder(tiny_folder) if has_template else None
        backend = backend or FakeBackend()
        app = create_app(backend, model, tokenizer, template, ServerConfig(**config), Metrics(registry))
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        return Site(app, backend, tokenizer, registry, httpx.AsyncClient(transport=transport, base_url="http://test"))

    yield make


@pytest.fixture
async def site(make_site: MakeSite) -> AsyncIterator[Site]:
    """The usual endpoint; after the test nothing runs in its backend, and no task is left."""
    site = make_site()
    async with site.client:
        yield site
    await site.backend.until_idle()
    left = [task for task in asyncio.all_tasks() if "Generation" in repr(task.get_coro())]
    assert left == []


@pytest.fixture
async def address(site: Site) -> AsyncIterator[Address]:
    async with listening(site.app) as address:
        yield address


@pytest.fixture(scope="session")
def tokenizer_of_coder(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return fim_tokenizer(tmp_path_factory.mktemp("fim"))


@pytest.fixture
async def coder(make_site: MakeSite, tokenizer_of_coder: Tokenizer) -> AsyncIterator[Site]:
    """An endpoint whose model can fill holes."""
    site = fim_site(make_site, tokenizer_of_coder)
    async with site.client:
        yield site
    await site.backend.until_idle()
