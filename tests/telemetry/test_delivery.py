"""Between a request and the collector: what is kept, what is dropped and counted, and what is said about it."""

import logging
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter
from pydantic import ValidationError

from llama4coder.config import TelemetryConfig
from llama4coder.errors import ConfigError
from llama4coder.obs.requests import GenerationRecord, RequestRecord
from llama4coder.telemetry import build, delivery
from llama4coder.telemetry.build import build_telemetry, check_telemetry, read_headers
from llama4coder.telemetry.genai import latencies
from llama4coder.telemetry.losses import Losses
from llama4coder.telemetry.otlp import OtlpTelemetry
from llama4coder.types import FinishReason
from tests.arch.source import read_sources
from tests.support.certificates import write_certificates
from tests.support.otlp_receiver import receiving

OFF = """
import sys, threading
from prometheus_client import CollectorRegistry
import {module}
from llama4coder.config import TelemetryConfig
from llama4coder.obs.metrics import Metrics
from llama4coder.telemetry.build import build_telemetry
before = threading.active_count()
dropped = Metrics(CollectorRegistry()).telemetry_dropped
assert build_telemetry(TelemetryConfig(), "one", dropped) is None
assert threading.active_count() == before
print([name for name in sys.modules if name.startswith(("opentelemetry.exporter.otlp", "llama4coder.telemetry."))])
"""


def generation(num_output_tokens: int = 9, num_sequences: int = 1, failure: str | None = None) -> GenerationRecord:
    return GenerationRecord(1.0, 1.2, 1.5, 3.5, num_sequences, 4, 0, num_output_tokens, (FinishReason.STOP,), failure)


def record(of: GenerationRecord | None = None, status: int = 200) -> RequestRecord:
    return RequestRecord("chat_completions", "openai", "m", "id", None, status, False, time.time(), 0.5, 4.0, of)


def made(url: str, timeout_s: float = 1.0, **config: object) -> tuple[OtlpTelemetry, Callable[[str], float]]:
    registry = CollectorRegistry()
    dropped = Counter("dropped", "", ("reason",), registry=registry)
    settings = TelemetryConfig.model_validate({"otlp_endpoint": url, "timeout_s": timeout_s, **config})
    telemetry = build_telemetry(settings, "one", dropped)
    assert telemetry is not None
    return telemetry, lambda reason: registry.get_sample_value("dropped_total", {"reason": reason}) or 0.0


@pytest.mark.parametrize("module", ["llama4coder.config", pytest.param("cluster.ingress", marks=pytest.mark.slow)])
def test_off_is_off(module: str) -> None:
    """Nothing is imported that could send anything, and no thread started, in what an ingress imports."""
    program = OFF.replace("{module}", module)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['llama4coder.telemetry.build']"


def test_two_modules_know_opentelemetry_and_one_loads_them() -> None:
    modules = {name: source.text for name, source in read_sources("llama4coder", "cluster").items()}
    knowing = sorted(name for name, text in modules.items() if "import opentelemetry" in text or "from opentel" in text)
    assert knowing == ["llama4coder.telemetry.delivery", "llama4coder.telemetry.otlp"]
    loading = [
        name for name, text in modules.items() if re.search(r"^from llama4coder.telemetry.(otlp|deliv)", text, re.M)
    ]
    assert loading == ["llama4coder.telemetry.otlp"], "`build` does so in a function"


def test_a_configured_collector_needs_the_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    for find_spec in (missing, lambda name: None):
        monkeypatch.setattr(build, "find_spec", find_spec)
        check_telemetry(TelemetryConfig())
        with pytest.raises(ConfigError, match=r"pip install 'llama4coder\[otlp\]'"):
            check_telemetry(TelemetryConfig(otlp_endpoint="http://127.0.0.1:4318"))


@pytest.mark.parametrize("url", ["127.0.0.1:4318", "ftp://a", "http://user:word@a", "http://a/?b", "http://a b", ""])
def test_endpoints_that_are_none(url: str) -> None:
    with pytest.raises(ValidationError, match="otlp_endpoint"):
        TelemetryConfig(otlp_endpoint=url)


def test_headers_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("Authorization: Bearer a:b\n\nx-tenant: us\n")
    with receiving() as receiver:
        telemetry, _ = made(f"{receiver.url}/", headers_file=str(file))
        telemetry.on_request(record(generation()))
        telemetry.close()
    assert {(seen["authorization"], seen["x-tenant"]) for seen in receiver.headers} == {("Bearer a:b", "us")}
    assert len(receiver.spans()) == 1


def test_the_environments_proxy_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """`llama4coder serve` names one that is not there, so that nobody leaves who was not told to."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with receiving() as receiver:
        telemetry, _ = made(receiver.url)
        telemetry.on_request(record(generation()))
        telemetry.close()
        assert len(receiver.spans()) == 1


def test_a_collector_must_be_who_it_says(tmp_path: Path) -> None:
    certificates = write_certificates(tmp_path)
    with receiving(certificates) as receiver:
        stranger, dropped = made(receiver.url)
        stranger.on_request(record(generation()))
        stranger.close()
        assert receiver.spans() == []
        assert dropped("undelivered") == 1
        known, _ = made(receiver.url, ca_file=str(certificates.authority))
        known.on_request(record(generation()))
        known.close()
        assert len(receiver.spans()) == 1


@pytest.mark.parametrize("line", ["secret", ": secret", "secret:"])
def test_headers_that_cannot_be_read(tmp_path: Path, line: str) -> None:
    file = tmp_path / "headers"
    file.write_text(f"a: b\n{line}\n")
    with pytest.raises(ConfigError, match="line 2 is no 'name: value'") as caught:
        read_headers(file)
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read: FileNotFoundError"):
        read_headers(tmp_path / "none")


def test_a_collector_that_hangs_fills_a_bounded_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_MAX_SPANS", 300)
    with receiving() as receiver:
        receiver.delay_s = 2.0
        telemetry, dropped = made(receiver.url, timeout_s=0.5)
        for _ in range(1000):
            telemetry.on_request(record(generation()))
        assert dropped("queue_full") >= 400
        began_s = time.monotonic()
        telemetry.close()
        assert time.monotonic() - began_s < 1.5
        receiver.delay_s = 0.0


def test_what_a_collector_refuses_is_counted() -> None:
    with receiving() as receiver:
        receiver.status = 403
        telemetry, dropped = made(receiver.url)
        for _ in range(5):
            telemetry.on_request(record(generation()))
        telemetry.close()
        assert dropped("undelivered") == 5
        assert dropped("queue_full") == 0


def test_a_collector_that_comes_back_is_used_again() -> None:
    with receiving() as receiver:
        receiver.status = 403
        telemetry, dropped = made(receiver.url)
        telemetry.on_request(record(generation()))
        deadline_s = time.monotonic() + 10
        while dropped("undelivered") == 0:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        receiver.status = 200
        telemetry.on_request(record(generation()))
        telemetry.close()
        assert len(receiver.spans()) == 1
        (duration,) = [one for one in receiver.histograms() if one.name == "gen_ai.server.request.duration"]
        assert sum(duration.counts) == 2, "histograms lose nothing"


def test_losses_are_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    times_s = iter((0.0, 1.0, 59.0, 60.0, 61.0, 121.0))
    losses = Losses(Counter("dropped", "", ("reason",), registry=CollectorRegistry()), lambda: next(times_s))
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            losses.undelivered(3)
            losses.queue_full()
            losses.report_failed()
    assert len(caplog.records) == 3
    assert "telemetry.otlp_endpoint" in caplog.text


def test_latencies() -> None:
    one = latencies(record(generation()))
    assert (one.request_s, one.first_token_s, one.per_output_token_s) == (3.5, 0.5, 0.25)
    assert latencies(record(generation(18, 2))).per_output_token_s == 0.25, "two sequences at a time"
    assert latencies(record(generation(1))).per_output_token_s is None
    for failed in (record(generation(failure="Unavailable")), record(generation(), 499), record(None, 400)):
        assert (latencies(failed).first_token_s, latencies(failed).per_output_token_s) == (None, None)
