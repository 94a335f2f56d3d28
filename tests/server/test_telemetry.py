"""Requests of every dialect, as a real collector sees them: their figures, and never what they hold."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from llama4coder.config import TelemetryConfig
from llama4coder.errors import Overloaded
from llama4coder.keys.scope import Scope
from llama4coder.server.observe import Tell
from llama4coder.telemetry.build import build_telemetry
from llama4coder.telemetry.otlp import OtlpTelemetry
from llama4coder.tokenizer.tokenizer import Tokenizer
from tests.keys.made import made, write_keys
from tests.server.fim_site import fim_site
from tests.server.serving import MakeSite, Site, listening
from tests.server.tool_sites import make_tool_site
from tests.silence.secret import Secret
from tests.support.fake_backend import Script
from tests.support.otlp_receiver import Receiver, SpanSeen, receiving

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
MESSAGES = [{"role": "user", "content": "hi"}]


@dataclass(frozen=True)
class Asked:
    """A route, a body, and the names of its answer's counts of tokens."""

    path: str
    body: dict[str, Any]
    operation: str
    dialect: str
    counts: tuple[str, str]


OPENAI = ("prompt_tokens", "completion_tokens")
ANTHROPIC = ("input_tokens", "output_tokens")
OLLAMA = ("prompt_eval_count", "eval_count")
WITH_USAGE = {"stream_options": {"include_usage": True}}
DIALECTS = (
    Asked("/v1/chat/completions", {"messages": MESSAGES}, "chat", "openai", OPENAI),
    Asked("/v1/completions", {"prompt": "def"}, "text_completion", "openai", OPENAI),
    Asked("/v1/responses", {"input": "hi"}, "chat", "openai", ANTHROPIC),
    Asked("/v1/messages", {"messages": MESSAGES, "max_tokens": 9}, "chat", "anthropic", ANTHROPIC),
    Asked("/api/chat", {"messages": MESSAGES}, "chat", "ollama", OLLAMA),
    Asked("/api/generate", {"prompt": "def"}, "text_completion", "ollama", OLLAMA),
    Asked("/v1/fim/completions", {"prompt": "a", "suffix": "b"}, "text_completion", "mistral", OPENAI),
    Asked(
        "/infill",
        {"input_prefix": "a", "input_suffix": "b"},
        "text_completion",
        "llama_cpp",
        ("tokens_evaluated", "tokens_predicted"),
    ),
)


@pytest.fixture
def collector() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def telemetry_for(url: str, **config: Any) -> OtlpTelemetry:
    dropped = Counter("dropped", "", ("reason",), registry=CollectorRegistry())
    telemetry = build_telemetry(TelemetryConfig(otlp_endpoint=url, **config), "one", dropped)
    assert telemetry is not None
    return telemetry


@pytest.fixture
async def telemetry(collector: Receiver) -> AsyncIterator[OtlpTelemetry]:
    telemetry = telemetry_for(collector.url)
    yield telemetry
    await asyncio.to_thread(telemetry.close)


@pytest.fixture
async def seen(make_site: MakeSite, tokenizer_of_coder: Tokenizer, telemetry: OtlpTelemetry) -> AsyncIterator[Site]:
    """An endpoint that fills holes, too, and is watched."""
    site = fim_site(make_site, tokenizer_of_coder)
    site.app.add_middleware(Tell, observer=telemetry)
    async with site.client:
        yield site


async def spans_of(telemetry: OtlpTelemetry, collector: Receiver) -> list[SpanSeen]:
    """All of them; nothing comes after."""
    await asyncio.to_thread(telemetry.close)
    return collector.spans()


async def test_figures_agree_with_every_dialects_own(seen: Site, telemetry: OtlpTelemetry, collector: Receiver) -> None:
    seen.backend.script = Script(
        seen.ids("def add(a, b)"), num_cached_tokens=1, queue_time_s=0.001, first_delay_s=0.004, delay_s=0.002
    )
    answers: list[tuple[Asked, bool, str]] = []
    for asked in DIALECTS:
        for stream in (False, True):
            extra = WITH_USAGE if stream and asked.dialect == "openai" and asked.counts == OPENAI else {}
            response = await seen.client.post(asked.path, json={"model": "tiny", "stream": stream} | asked.body | extra)
            assert response.status_code == 200, response.text
            answers.append((asked, stream, response.text))
    spans = await spans_of(telemetry, collector)
    assert len(spans) == len(answers)
    for span, (asked, stream, text) in zip(spans, answers, strict=True):
        assert span.name == f"{asked.operation} org/tiny"
        attributes = span.attributes
        num_input, num_output = (_last_number(text, name) for name in asked.counts)
        cached = 1 if asked.dialect == "anthropic" else 0  # which counts them apart
        assert attributes["gen_ai.usage.input_tokens"] == num_input + cached, asked
        assert attributes["gen_ai.usage.output_tokens"] == num_output > 1, asked
        assert attributes["gen_ai.usage.cache_read.input_tokens"] == 1
        assert attributes["gen_ai.response.finish_reasons"] == ["stop"]
        assert attributes["gen_ai.request.stream"] is stream
        assert attributes["gen_ai.operation.name"] == asked.operation
        assert (attributes["gen_ai.provider.name"], attributes["gen_ai.request.model"]) == ("llama4coder", "org/tiny")
        assert attributes["llama4coder.dialect"] == asked.dialect
        assert attributes["http.response.status_code"] == 200
        assert "error.type" not in attributes and not span.is_error
        names = ["submitted", "admitted", "first_token", "last_token"]
        times = [span.start_ns, *(span.events[f"llama4coder.{name}"] for name in names), span.end_ns]
        assert times == sorted(times) and len(set(times[1:5])) == 4


def _last_number(text: str, name: str) -> int:
    return int(re.findall(rf'"{name}":\s*(\d+)', text)[-1])


async def test_histograms_have_the_conventions_bounds(
    seen: Site, telemetry: OtlpTelemetry, collector: Receiver
) -> None:
    seen.backend.script = Script(range(10, 20), delay_s=0.03)
    await seen.chat()
    await seen.chat(stream=True)
    await seen.chat(model="other")
    await asyncio.to_thread(telemetry.close)
    series = {(one.name, one.attributes.get("error.type")): one for one in collector.histograms()}
    assert {(name, error): sum(one.counts) for (name, error), one in series.items()} == {
        ("gen_ai.server.request.duration", None): 2,
        ("gen_ai.server.request.duration", "404"): 1,
        ("gen_ai.server.time_to_first_token", None): 2,
        ("gen_ai.server.time_per_output_token", None): 2,
    }
    duration = series["gen_ai.server.request.duration", None]
    assert duration.bounds == tuple(0.01 * 2**power for power in range(14))
    assert duration.attributes["gen_ai.operation.name"] == "chat"
    per_token = series["gen_ai.server.time_per_output_token", None]
    assert per_token.bounds[:3] == (0.01, 0.025, 0.05) and per_token.bounds[-1] == 2.5
    assert 0.06 <= per_token.total < 0.2
    assert series["gen_ai.server.time_to_first_token", None].bounds[-4:] == (2.5, 5.0, 7.5, 10.0)


@dataclass(frozen=True)
class Failure:
    """How a request fails, and what is to be seen of it."""

    script: Script
    fields: dict[str, Any]
    status: int
    error: str
    is_fault: bool


DYING = Script(range(10, 20), death=RuntimeError("x"), death_after=2)
FAILURES = (
    Failure(Script(), {"max_tokens": 10_000}, 400, "400", is_fault=False),
    Failure(Script(), {"model": "other"}, 404, "404", is_fault=False),
    Failure(Script(refusal=Overloaded("full", 1.0)), {}, 429, "Overloaded", is_fault=False),
    Failure(DYING, {}, 500, "RuntimeError", is_fault=True),
    Failure(DYING, {"stream": True}, 200, "RuntimeError", is_fault=True),
)


async def test_errors(seen: Site, telemetry: OtlpTelemetry, collector: Receiver) -> None:
    for failure in FAILURES:
        seen.backend.script = failure.script
        assert (await seen.chat(**failure.fields)).status_code == failure.status
    spans = await spans_of(telemetry, collector)
    for span, failure in zip(spans, FAILURES, strict=True):
        assert span.attributes["http.response.status_code"] == failure.status
        assert span.attributes["error.type"] == failure.error
        assert span.is_error is failure.is_fault
    assert {one.name for one in collector.histograms()} == {"gen_ai.server.request.duration"}


async def test_a_client_that_leaves(seen: Site, telemetry: OtlpTelemetry, collector: Receiver) -> None:
    seen.backend.script = Script(range(10, 200), delay_s=0.01)
    body = {"model": "tiny", "messages": MESSAGES, "stream": True, "max_tokens": 200}
    async with listening(seen.app) as address, httpx.AsyncClient(base_url=address.url) as client:
        async with client.stream("POST", "/v1/chat/completions", json=body) as response:
            async for _ in response.aiter_lines():
                break
        await seen.backend.until_idle()
    (span,) = await spans_of(telemetry, collector)
    assert (span.attributes["http.response.status_code"], span.attributes["error.type"]) == (499, "499")
    assert span.attributes["gen_ai.usage.output_tokens"] < 190
    assert "gen_ai.response.finish_reasons" not in span.attributes


async def test_what_is_no_inference_has_no_span(seen: Site, telemetry: OtlpTelemetry, collector: Receiver) -> None:
    for path in ("/v1/models", "/health", "/ready", "/metrics", "/nowhere"):
        await seen.client.get(path)
    await seen.client.post("/tokenize", json={"prompt": "def"})
    assert await spans_of(telemetry, collector) == []


async def test_the_clients_trace_goes_on(seen: Site, telemetry: OtlpTelemetry, collector: Receiver) -> None:
    """With the last flags the client wants no span; what is no `traceparent` is none of the client's trace."""
    others = {"tracestate": "vendor=secret", "baggage": "user=secret"}
    for flags in ("01", "zz", "01-more", "00"):
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-{flags}"} | others
        body = {"model": "tiny", "messages": MESSAGES}
        assert (await seen.client.post("/v1/chat/completions", json=body, headers=headers)).status_code == 200
    first, *others_spans = await spans_of(telemetry, collector)
    assert (first.trace_id, first.parent_id) == (TRACE, PARENT)
    assert [span.parent_id for span in others_spans] == ["", ""]
    assert b"secret" not in collector.raw and b"vendor" not in collector.raw


async def test_sampling_thins_spans_and_no_histogram(make_site: MakeSite, collector: Receiver) -> None:
    telemetry = telemetry_for(collector.url, sample_ratio=0.5)
    site = make_site()
    site.app.add_middleware(Tell, observer=telemetry)
    async with site.client:
        for number in range(40):
            trace = f"00-{TRACE[:16]}{'f' if number % 2 else '0'}{TRACE[17:]}-{PARENT}-01"
            await site.client.post(
                "/v1/completions", json={"model": "tiny", "prompt": "a"}, headers={"traceparent": trace}
            )
    assert len(await spans_of(telemetry, collector)) == 20, "by the trace alone"
    durations = [one for one in collector.histograms() if one.name == "gen_ai.server.request.duration"]
    assert [sum(one.counts) for one in durations] == [40]


async def test_no_secret_reaches_the_collector(telemetry: OtlpTelemetry, collector: Receiver, tmp_path: Path) -> None:
    """Neither by what keys are called and are, nor by names of models, tools, users and headers; right or refused."""
    secret = Secret(make_tool_site(tmp_path, "hermes").tokenizer)
    keys = write_keys(tmp_path / "keys.json", made(secret.text, scopes=list(Scope)))
    site = make_tool_site(tmp_path, "hermes", keys_file=str(keys), tenant_metrics=True)
    site.app.add_middleware(Tell, observer=telemetry)
    site.backend.script = Script(site.ids(f"x {secret.text} y"))
    tool = {"type": "function", "function": {"name": secret.text, "parameters": {"title": secret.text}}}
    call = {"id": "a", "type": "function", "function": {"name": secret.text, "arguments": f'{{"a": "{secret.text}"}}'}}
    turns = [
        {"role": "user", "content": secret.text},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": secret.text},
    ]
    bodies: list[dict[str, Any]] = [
        {"model": "tiny", "messages": turns, "tools": [tool], "user": secret.text, "metadata": {"a": secret.text}},
        {"model": "tiny", "messages": turns[:1], "user": secret.text, "stop": [secret.text], "stream": True},
        {"model": secret.text, "messages": turns},
        {"model": "tiny", "messages": secret.text},
        {"model": "tiny", "messages": turns, secret.text: secret.text},
    ]
    headers = {name: secret.text for name in ("user-agent", "traceparent", "tracestate", "baggage", "cookie", "x-a")}
    statuses = []
    async with site.client:
        for key in (secret.text, f"{secret.text}x"):
            for body in bodies:
                answer = await site.client.post(
                    f"/v1/chat/completions?{secret.text}",
                    json=body,
                    headers=headers | {"authorization": f"Bearer {key}"},
                )
                statuses.append(answer.status_code)
    spans = await spans_of(telemetry, collector)
    assert [span.attributes["http.response.status_code"] for span in spans] == statuses
    assert statuses == [200, 200, 404, 400, 200] + [401] * 5
    assert list(secret.traces_in(collector.raw, "collector")) == []
    assert list(secret.traces_in(repr(collector.headers).encode(), "headers")) == []


async def test_a_collector_that_is_away_costs_nobody_anything(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    telemetry = telemetry_for("http://127.0.0.1:9", timeout_s=1.0)
    site = make_site()
    site.app.add_middleware(Tell, observer=telemetry)
    async with site.client:
        for _ in range(20):
            assert (await site.chat()).status_code == 200
    began_s = time.monotonic()
    await asyncio.to_thread(telemetry.close)
    assert time.monotonic() - began_s < 2.0
    told = [record for record in caplog.records if record.name.startswith(("llama4coder.telemetry", "opentelemetry"))]
    assert [record.levelname for record in told] == ["WARNING"]
