"""What telemetry costs an ingress: CPU of this process per streamed chat, without it and by share of spans.

    .venv/bin/python -m tests.bench.telemetry [--requests 200] [--rounds 9]

The endpoint stands over a scripted backend (20 tokens per answer), the client is in the same process, and the collector
in another one. CPU of requests counts all threads of this process, so also those that encode and send; that of the
event loop is what telling alone takes there, the best of all rounds.
"""

import argparse
import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from llama4coder.config import ServerConfig, TelemetryConfig
from llama4coder.obs.metrics import Metrics
from llama4coder.obs.requests import GenerationRecord, RequestRecord
from llama4coder.server.app import create_app
from llama4coder.server.observe import Tell
from llama4coder.telemetry.build import build_telemetry
from llama4coder.tokenizer.chat_template import ChatTemplate
from llama4coder.tokenizer.tokenizer import Tokenizer
from llama4coder.types import FinishReason
from tests.bench.measure import describe_machine, interleaved, markdown_table
from tests.server.serving import MODEL
from tests.support.fake_backend import FakeBackend, Script
from tests.support.otlp_receiver import receiving
from tests.support.tiny import write_tiny_tokenizer

RATIOS = (0.0, 0.01, 0.1, 1.0)
BODY = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": True}
_CALLS = 1000
OFF, AWAY = "off", "collector away, 1.0"


def app_with(folder: Path, url: str | None, ratio: float) -> FastAPI:
    """The endpoint, watched as an ingress has it."""
    metrics = Metrics(CollectorRegistry())
    backend = FakeBackend(Script(range(10, 30)))
    tokenizer, template = Tokenizer.from_folder(folder), ChatTemplate.from_folder(folder)
    app = create_app(backend, MODEL, tokenizer, template, ServerConfig(), metrics)
    settings = TelemetryConfig(otlp_endpoint=url, sample_ratio=ratio)
    telemetry = build_telemetry(settings, "one", metrics.telemetry_dropped)
    if telemetry is not None:
        app.add_middleware(Tell, observer=telemetry)
    return app


def cpu_us_per_request(app: FastAPI, num_requests: int) -> float:
    """Microseconds of CPU, those of the second after it included, in which batches are sent."""

    async def drive() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://bench") as client:
            for _ in range(num_requests):
                (await client.post("/v1/chat/completions", json=BODY)).raise_for_status()

    begun_s = time.process_time()
    asyncio.run(drive())
    time.sleep(1.2)
    return (time.process_time() - begun_s) / num_requests * 1e6


def loop_us_per_request(url: str, ratio: float) -> float:
    """Microseconds of the event loop's thread to tell of one request; few enough at a time to be sent meanwhile."""
    dropped = Metrics(CollectorRegistry()).telemetry_dropped
    telemetry = build_telemetry(TelemetryConfig(otlp_endpoint=url, sample_ratio=ratio), "one", dropped)
    assert telemetry is not None
    now_s = time.perf_counter()
    generation = GenerationRecord(now_s, now_s, now_s + 1, now_s + 2, 1, 9, 0, 20, (FinishReason.STOP,), None)
    record = RequestRecord(
        "chat_completions", "openai", "m", "id", None, 200, True, time.time(), now_s, now_s + 2, generation
    )
    begun_s = time.thread_time()
    for _ in range(_CALLS):
        telemetry.on_request(record)
    taken_s = time.thread_time() - begun_s
    telemetry.close()
    return taken_s / _CALLS * 1e6


def collect(connection: Connection) -> None:
    """A collector in a process of its own, until the other end is closed."""
    with receiving() as receiver:
        connection.send(receiver.url)
        connection.recv()


def main() -> None:
    """Print the table of RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    collector = multiprocessing.get_context("spawn").Process(target=collect, args=(theirs,))
    collector.start()
    with tempfile.TemporaryDirectory() as folder:
        write_tiny_tokenizer(Path(folder))
        url = ours.recv()
        apps = {OFF: app_with(Path(folder), None, 0.0)}
        apps |= {f"{ratio:g}": app_with(Path(folder), url, ratio) for ratio in RATIOS}
        apps[AWAY] = app_with(Path(folder), "http://127.0.0.1:9", 1.0)
        calls: dict[str, Callable[[], float]] = {
            name: partial(cpu_us_per_request, app, options.requests) for name, app in apps.items()
        }
        interleaved(calls, 1)
        loop = {f"{ratio:g}": min(loop_us_per_request(url, ratio) for _ in range(options.rounds)) for ratio in RATIOS}
        found = interleaved(calls, options.rounds)
    ours.send("end")
    collector.join()
    print(describe_machine())
    rows = [(name, f"{value:,.0f}", f"{loop[name]:.0f}" if name in loop else "") for name, value in found.items()]
    print(markdown_table(("share of spans", "CPU µs per request", "of it the event loop's for telling"), rows))


if __name__ == "__main__":
    main()
