"""Measuring changes nothing, and measures."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from llama4coder.errors import EngineDead, Overloaded
from llama4coder.obs.backend import MeasuredBackend
from llama4coder.obs.metrics import Metrics
from llama4coder.types import GenerateRequest
from tests.support.backend_contract import BackendContract, Subject, make_request, run
from tests.support.fake_backend import FakeBackend, Script


def _choose(request: GenerateRequest) -> Script:
    if request.request_id == "impossible":
        return Script(refusal=Overloaded("the queue is full", 1.0))
    return Script([number % 64 for number in range(200)], delay_s=0.001)


class TestMeasuredBackend(BackendContract):
    @pytest.fixture
    def subject(self) -> Iterator[Subject]:
        inner = FakeBackend(choose=_choose)

        async def kill() -> None:
            inner.dead = EngineDead("killed by a test")

        backend = MeasuredBackend(inner, Metrics(CollectorRegistry()))
        yield Subject(backend, lambda: len(inner.running), replace(make_request("x"), request_id="impossible"), kill)


async def test_first_token_and_the_gaps_after_it() -> None:
    registry = CollectorRegistry()
    inner = FakeBackend(Script(range(8), first_delay_s=0.05, tokens_per_event=2))
    await run(MeasuredBackend(inner, Metrics(registry)), make_request("a", max_tokens=8))
    assert registry.get_sample_value("llama4coder_time_to_first_token_seconds_count") == 1
    first_s = registry.get_sample_value("llama4coder_time_to_first_token_seconds_sum")
    assert first_s is not None and first_s >= 0.05
    assert registry.get_sample_value("llama4coder_inter_token_latency_seconds_count") == 3


async def test_probes_are_timed_and_failures_counted() -> None:
    registry = CollectorRegistry()
    inner = FakeBackend(Script(range(8)))
    backend = MeasuredBackend(inner, Metrics(registry))
    await backend.probe(1.0)
    inner.dead = EngineDead("killed by a test")
    with pytest.raises(EngineDead):
        await backend.probe(1.0)
    assert registry.get_sample_value("llama4coder_engine_probe_seconds_count") == 1
    assert registry.get_sample_value("llama4coder_engine_probe_failures_total") == 1
