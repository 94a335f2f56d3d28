"""One metrics page for the whole deployment."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from cluster.scaling_watch import ScalingWatch
from llama4coder.obs.merge import merge

_PUSH_PERIOD_S = 1.0
_DEPARTED_AFTER_S = 15.0
_DEPARTED = "departed"
_HUB = "hub"

_log = logging.getLogger(__name__)


class MetricsHub:
    """Keeps the last text of every process; what one counted stays when it goes, what it measured goes with it."""

    def __init__(self, watch: Callable[[], ScalingWatch] | None = None) -> None:
        self._watch = None if watch is None else watch()
        self._texts: dict[str, bytes] = {}
        self._pushed_s: dict[str, float] = {}
        self._departed = b""

    async def push(self, process: str, text: bytes) -> None:
        """Replace a process's text."""
        self._texts[process] = text
        self._pushed_s[process] = time.monotonic()

    async def exchange(self, process: str, text: bytes) -> bytes:
        """Replace a process's text, and return everybody's."""
        await self.push(process, text)
        self._retire(time.monotonic())
        own = {} if self._watch is None else {_HUB: self._watch.render()}
        return merge({_DEPARTED: self._departed, **self._texts, **own})

    def _retire(self, now_s: float) -> None:
        for process in [key for key, pushed_s in self._pushed_s.items() if now_s - pushed_s > _DEPARTED_AFTER_S]:
            del self._pushed_s[process]
            self._departed = merge({_DEPARTED: self._departed, process: without_gauges(self._texts.pop(process))})


class MetricsPusher:
    """Sends this process's metrics to the hub about once a second; for the event loop."""

    def __init__(self, hub: DeploymentHandle[Any], process: str, render: Callable[[], bytes]) -> None:
        self._hub = hub
        self._process = process
        self._render = render
        self._task = asyncio.create_task(self._push_forever())

    async def everybody(self) -> bytes:
        """The whole deployment's metrics, this process's as they are now; only its own when the hub is away."""
        try:
            merged: bytes = await self._hub.exchange.remote(self._process, self._render())
        except (RayError, RayServeException):
            return self._render()
        return merged

    async def stop(self) -> None:
        """Push a last time, so that what was counted is not lost."""
        self._task.cancel()
        await self._push()

    async def _push_forever(self) -> None:
        while True:
            await self._push()
            await asyncio.sleep(_PUSH_PERIOD_S)

    async def _push(self) -> None:
        try:
            async with asyncio.timeout(_PUSH_PERIOD_S):
                await self._hub.push.remote(self._process, self._render())
        except (RayError, RayServeException, TimeoutError) as error:
            _log.debug("metrics were not pushed: %s", type(error).__name__)


def without_gauges(text: bytes) -> bytes:
    """What of a process's metrics stays true after its end: counters and histograms."""
    families = [family for family in text_string_to_metric_families(text.decode()) if family.type != "gauge"]
    return generate_latest(_Fixed(families))


class _Fixed(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families
