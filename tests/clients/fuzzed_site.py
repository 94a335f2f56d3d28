"""An endpoint that is quick and can do everything, to be fuzzed: `python -m tests.clients.fuzzed_site PORT`."""

import asyncio
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from llama4coder.config import ServerConfig
from llama4coder.obs.metrics import Metrics
from llama4coder.server.app import create_app
from llama4coder.tokenizer.chat_template import ChatTemplate
from llama4coder.tokenizer.tokenizer import Tokenizer
from tests.server.fim_site import SPECIALS
from tests.server.serving import MODEL
from tests.server.tool_sites import MARKERS, TEMPLATES
from tests.support.fake_backend import FakeBackend
from tests.support.tiny import write_tiny_tokenizer


def fuzzed_app(folder: Path) -> FastAPI:
    """Holes, tools and reasoning over a backend that knows no model."""
    write_tiny_tokenizer(folder, (*SPECIALS, *MARKERS))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["chat_template"] = TEMPLATES["thinking"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = Tokenizer.from_folder(folder)
    model = replace(MODEL, vocab_size=tokenizer.vocab_size, context_length=2048, block_bounds=True)
    template = ChatTemplate.from_folder(folder)
    return create_app(FakeBackend(), model, tokenizer, template, ServerConfig(), Metrics(CollectorRegistry()))


async def serve(port: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        app = fuzzed_app(Path(folder))
        await uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", lifespan="off")).serve()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
