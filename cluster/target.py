"""The target replica: an engine in one process, each of its ranks in another."""

import logging
import time
from typing import Any

from prometheus_client import CollectorRegistry
from ray import serve
from ray.serve.handle import DeploymentHandle

from cluster.autoscaling import told
from cluster.channel.endpoint import Endpoint
from cluster.channel.executor import ZmqExecutor
from cluster.draining import Draining
from cluster.generation import GenerationOutcome, GenerationService, Refusal
from cluster.headroom import HeadroomWatch
from cluster.metrics_hub import MetricsPusher
from cluster.rank_group import RankGroup
from cluster.reporter import Reporter
from cluster.speculation import TargetSpeculation
from cluster.startup_times import StartupTimes
from llama4coder.engine.engine import Engine
from llama4coder.engine.thread import EngineThread, QueueLimits
from llama4coder.errors import EngineDead, Replaced
from llama4coder.kv.memory_line import told_memory
from llama4coder.kv.name_journal import NameJournal
from llama4coder.obs.metrics import Metrics
from llama4coder.obs.replicas import Pool
from llama4coder.resolved import ResolvedConfig
from llama4coder.scaling.meter import LoadMeter
from llama4coder.types import Fingerprint, GenerateRequest

_log = logging.getLogger("ray.serve")  # the one that Serve writes to the replica's file


class TargetReplica:
    """One target replica; see `cluster.app` for the deployment's options.

    `__init__` returns when the model is loaded: until then Serve sends no requests.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        config: ResolvedConfig,
        hub: DeploymentHandle[Any],
        drafts: DeploymentHandle[Any] | None,
        fingerprint: Fingerprint,
    ) -> None:
        self._metrics = metrics = Metrics(CollectorRegistry())
        self._fingerprint = fingerprint
        times = StartupTimes(metrics)
        limits = QueueLimits(config.engine.max_sequences, config.engine.max_queued_requests)
        self._ranks = await RankGroup.start(config, times)
        config, memory = self._ranks.started.config, self._ranks.started.memory
        metrics.on_memory(memory)
        _log.info("memory: %s", told_memory(config, memory))
        self._executor = ZmqExecutor(self._ranks.started.endpoints, config.engine.heartbeat_timeout_s)
        self._speculation = TargetSpeculation(config, drafts, metrics)
        journal = NameJournal()
        self._meter = LoadMeter(metrics, config.engine.block_size, config.engine.kv_shards, time.monotonic)
        engine = Engine(config, self._executor, self._meter, self._speculation.for_engine, journal)
        self._thread = thread = EngineThread(engine, limits)
        self._service = GenerationService(thread)
        thread.start()
        with times.phase("warm-up"):
            await self._service.probe(config.engine.step_timeout_s)
            self._ranks.connected()
        metrics.on_ready(Pool.TARGET)
        self._headroom = HeadroomWatch(self._ranks.free_memory, metrics.on_headroom)
        self._name = serve.get_replica_context().replica_id.unique_id
        self._draining = draining = Draining(config.engine.drain_timeout_s, self._service.hand_over)
        shards = config.engine.kv_shards
        self._reporter = Reporter(self._name, thread, journal, shards, fingerprint, lambda: draining.is_draining)
        self._pusher = MetricsPusher(hub, self._name, metrics.render)

    async def generate(
        self, request: GenerateRequest, ingress: Endpoint, wanted: Fingerprint, replica: str | None = None
    ) -> GenerationOutcome | Refusal:
        """See `GenerationService.generate`; called through the deployment's handle, whose router reads `replica`.

        Refused is what other replicas than those `wanted` would answer otherwise.
        """
        if wanted != self._fingerprint:
            return Refusal(_replaced(request))
        self._reporter.received(request.request_id)
        return await self._service.generate(request, ingress)

    async def report_to(self, ingress: Endpoint) -> str:
        """Called through the deployment's handle, at every replica, again and again; returns the replica's name."""
        self._reporter.ask(ingress)
        return self._name

    async def probe(self, timeout_s: float) -> None:
        """See `GenerationBackend.probe`; called through the deployment's handle."""
        await self._service.probe(timeout_s)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve for `cluster.target_scaling`."""
        load = self._thread.load()
        return told(self._meter.load(load.stats, load.num_arriving, load.num_arriving_tokens))

    async def check_health(self) -> None:
        """Called by Serve, which replaces the replica when this raises; its ranks make room at once."""
        try:
            self._service.check()
            self._executor.check()
            self._ranks.check()
        except EngineDead:
            self._metrics.on_failed(Pool.TARGET)
            self._ranks.stop()
            raise

    async def __del__(self) -> None:
        """Called by Serve when the replica is stopped, also when `__init__` did not finish."""
        if hasattr(self, "_draining"):
            await self._draining.stop()
            lasted_s = self._draining.lasted_s()
            if lasted_s is not None:
                self._metrics.drain_time.observe(lasted_s)
        if hasattr(self, "_headroom"):
            self._headroom.stop()
        if hasattr(self, "_reporter"):
            await self._reporter.stop()
        if hasattr(self, "_pusher"):
            await self._pusher.stop()
        if hasattr(self, "_speculation"):
            await self._speculation.stop()
        if hasattr(self, "_service"):
            await self._service.close()
        if hasattr(self, "_ranks"):
            self._ranks.stop()


def _replaced(request: GenerateRequest) -> Replaced:
    if request.output_token_ids:
        return Replaced("the answer was begun by another configuration of the model, which is no longer served")
    return Replaced("the model is being replaced by another one; please try again")
