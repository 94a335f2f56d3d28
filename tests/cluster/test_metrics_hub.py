"""One page of metrics from many processes, some of them gone."""

import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from ray.exceptions import ActorDiedError

from cluster import metrics_hub
from cluster.metrics_hub import MetricsHub, MetricsPusher, without_gauges


def text_of(count: int, level: float) -> bytes:
    registry = CollectorRegistry()
    Counter("requests_total", "Requests.", registry=registry).inc(count)
    Gauge("level", "Level.", registry=registry).set(level)
    Histogram("wait_seconds", "Wait.", buckets=(1.0,), registry=registry).observe(0.5)
    return generate_latest(registry)


def test_gauges_go_and_the_rest_stays() -> None:
    left = without_gauges(text_of(3, 7.0)).decode()
    assert "requests_total 3.0" in left
    assert 'wait_seconds_bucket{le="1.0"} 1.0' in left
    assert "level" not in left


async def test_counters_are_summed_and_gauges_told_apart() -> None:
    hub = MetricsHub()
    await hub.push("a", text_of(1, 5.0))
    merged = (await hub.exchange("b", text_of(2, 6.0))).decode()
    assert "requests_total 3.0" in merged
    assert 'level{replica="a"} 5.0' in merged
    assert 'level{replica="b"} 6.0' in merged


async def test_departed_process_keeps_its_counts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_hub, "_DEPARTED_AFTER_S", 0.02)
    hub = MetricsHub()
    for name in ("a", "b"):
        await hub.push(name, text_of(1, 5.0))
        await asyncio.sleep(0.05)
    merged = (await hub.exchange("c", text_of(2, 6.0))).decode()
    assert "requests_total 4.0" in merged
    assert 'replica="a"' not in merged
    assert 'replica="b"' not in merged


class Method:
    def __init__(self, method: Any) -> None:
        self._method = method

    def remote(self, *args: Any) -> Any:
        return self._method(*args)


class Handle:
    """A deployment handle to a hub, which may be away."""

    def __init__(self, hub: MetricsHub) -> None:
        self.pushes = 0
        self.away = False
        self._hub = hub
        self.push, self.exchange = Method(self._push), Method(self._exchange)

    async def _push(self, process: str, text: bytes) -> None:
        self.pushes += 1
        if self.away:
            raise ActorDiedError
        await self._hub.push(process, text)

    async def _exchange(self, process: str, text: bytes) -> bytes:
        if self.away:
            raise ActorDiedError
        return await self._hub.exchange(process, text)


async def test_pusher_pushes_again_and_again_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_hub, "_PUSH_PERIOD_S", 0.01)
    hub = MetricsHub()
    handle = Handle(hub)
    pusher = MetricsPusher(handle, "a", lambda: text_of(1, 1.0))  # type: ignore[arg-type]
    handle.away = True
    await asyncio.sleep(0.05)
    assert handle.pushes >= 2
    assert b"requests_total 1.0" in await pusher.everybody(), "its own, while the hub is away"
    handle.away = False
    await pusher.stop()
    assert b"requests_total 3.0" in await hub.exchange("b", text_of(2, 2.0))
    pushes = handle.pushes
    await asyncio.sleep(0.05)
    assert handle.pushes == pushes
