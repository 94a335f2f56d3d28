"""Requests as clients send them, in the shapes that their own code has, played over a real socket."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from llama4coder.tokenizer.tokenizer import Tokenizer
from tests.server.dialects import streamed_text
from tests.server.fim_site import SPECIALS
from tests.server.serving import MODEL, Address, MakeSite, Site, listening
from tests.support.fake_backend import Script

FOLDER = Path(__file__).parent / "recorded"
RECORDINGS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}
EXCHANGES = [
    pytest.param(exchange, id=f"{name}-{exchange['path']}")
    for name, recording in RECORDINGS.items()
    for exchange in recording["exchanges"]
]
STREAMS = [exchange for exchange in EXCHANGES if exchange.values[0].get("body", {}).get("stream")]
TEXT = "def add(first, second):"


@pytest.fixture
async def coder(make_site: MakeSite, tokenizer_of_coder: Tokenizer) -> AsyncIterator[Site]:
    """A model of 32k context that can fill holes."""
    model = replace(MODEL, context_length=32768, vocab_size=MODEL.vocab_size + len(SPECIALS))
    site = make_site(tokenizer=tokenizer_of_coder, model=model)
    site.backend.script = Script(site.ids(TEXT))
    async with site.client:
        yield site
    await site.backend.until_idle()


@pytest.fixture
async def address(coder: Site) -> AsyncIterator[Address]:
    async with listening(coder.app) as address:
        yield address


async def play(address: Address, exchange: dict[str, Any]) -> httpx.Response:
    async with httpx.AsyncClient(base_url=address.url) as client:
        headers, body = exchange.get("headers"), exchange.get("body")
        return await client.request(exchange["method"], exchange["path"], headers=headers, json=body)


@pytest.mark.parametrize("exchange", EXCHANGES)
async def test_it_is_answered(address: Address, exchange: dict[str, Any]) -> None:
    response = await play(address, exchange)
    assert response.status_code == 200, response.text
    assert response.text


@pytest.mark.parametrize("exchange", STREAMS)
async def test_its_stream_adds_up(address: Address, exchange: dict[str, Any]) -> None:
    assert streamed_text(exchange["path"], (await play(address, exchange)).text) == TEXT


@pytest.mark.parametrize("exchange", STREAMS)
async def test_a_client_that_leaves_frees_the_engine(coder: Site, address: Address, exchange: dict[str, Any]) -> None:
    coder.backend.script = Script([10] * 500, delay_s=0.01)
    request = {"headers": exchange.get("headers"), "json": exchange["body"]}
    async with httpx.AsyncClient(base_url=address.url) as client:
        async with client.stream(exchange["method"], exchange["path"], **request) as response:
            async for _ in response.aiter_bytes():
                break
    await coder.backend.until_idle()
    assert len(coder.backend.aborted) == 1


async def test_copilot_finds_the_window_that_is_served(address: Address) -> None:
    shown = (await play(address, RECORDINGS["copilot_ollama"]["exchanges"][2])).json()
    info = shown["model_info"]
    assert info[f"{info['general.architecture']}.context_length"] == 32768
    assert info["general.basename"] == "org/tiny"
    assert isinstance(shown["capabilities"], list)


async def test_continue_lets_the_server_write_the_hole(coder: Site, address: Address) -> None:
    show, fill, _ = RECORDINGS["continue"]["exchanges"]
    shown = (await play(address, show)).json()
    assert ".Suffix" in shown["template"]
    assert [line.split() for line in shown["parameters"].split("\n")] == [["num_ctx", "32768"]]
    await play(address, fill)
    prompt = coder.tokenizer.decode(coder.backend.requests[0].prompt_token_ids, skip_special=False)
    assert prompt == "<|fim_prefix|>def add(<|fim_suffix|>):\n    return first + second\n<|fim_middle|>"


async def test_what_claude_code_says_to_whoever_bills_is_no_part_of_the_prompt(coder: Site, address: Address) -> None:
    await play(address, RECORDINGS["claude_code"]["exchanges"][1])
    (request,) = coder.backend.requests
    prompt = coder.tokenizer.decode(request.prompt_token_ids, skip_special=False)
    assert prompt.startswith(
        "<|im_start|>system\nYou are Claude Code.\n\nBe brief.<|im_end|>\n<|im_start|>user\n<system-"
    )
