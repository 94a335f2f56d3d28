"""The target replica: an engine in one process, its rank in another."""

import asyncio
from typing import Any

import ray
from prometheus_client import CollectorRegistry
from ray import serve
from ray.actor import ActorHandle
from ray.serve.handle import DeploymentHandle
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster.channel.endpoint import Endpoint
from cluster.channel.executor import ZmqExecutor
from cluster.errors import original_error
from cluster.generation import GenerationOutcome, GenerationService, Refusal
from cluster.metrics_hub import MetricsPusher
from cluster.placement import RANK_BUNDLE, target_bundles
from cluster.rank import RankActor
from llama4coder.config import ResolvedConfig
from llama4coder.engine.engine import Engine
from llama4coder.engine.thread import EngineThread, QueueLimits
from llama4coder.errors import EngineDead
from llama4coder.obs.metrics import Metrics
from llama4coder.types import GenerateRequest

_RANK_CONCURRENCY = 4  # `serve` holds one call for as long as the rank lives


class Rank:
    """The replica's view of its rank actor, kept up to date by a call that lasts as long as the actor."""

    def __init__(self, actor: ActorHandle[Any], endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._actor = actor
        self._is_alive = True
        self._watcher = asyncio.create_task(self._watch())

    @classmethod
    async def start(cls, config: ResolvedConfig) -> "Rank":
        """Create the actor in the replica's own placement group and load the model."""
        bundle = target_bundles(config)[RANK_BUNDLE]
        group = ray.util.get_current_placement_group()
        assert group is not None, "a target replica has a placement group of its own"
        actor: Any = (
            ray.remote(RankActor)
            .options(
                num_cpus=bundle["CPU"],
                num_gpus=bundle.get("GPU", 0),
                max_concurrency=_RANK_CONCURRENCY,
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, RANK_BUNDLE),
            )
            .remote()
        )
        try:
            return cls(actor, await actor.load.remote(config))
        except ray.exceptions.RayError as error:
            ray.kill(actor)
            raise original_error(error) from None

    def is_alive(self) -> bool:
        """Any thread."""
        return self._is_alive

    def stop(self) -> None:
        """Kill the actor: it holds nothing that must be put away."""
        self._watcher.cancel()
        ray.kill(self._actor)

    async def _watch(self) -> None:
        try:
            await self._actor.serve.remote()
        except ray.exceptions.RayError:
            pass  # dead or unreachable: the same to us
        finally:
            self._is_alive = False


class TargetReplica:
    """One target replica; see `cluster.app` for the deployment's options.

    `__init__` returns when the model is loaded: until then Serve sends no requests.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, config: ResolvedConfig, hub: DeploymentHandle[Any]
    ) -> None:
        metrics = Metrics(CollectorRegistry())
        limits = QueueLimits(config.engine.max_sequences, config.engine.max_queued_requests)
        self._rank = await Rank.start(config)
        executor = ZmqExecutor([self._rank.endpoint], self._rank.is_alive)
        thread = EngineThread(Engine(config, executor, metrics), limits)
        self._service = GenerationService(thread)
        thread.start()
        self._pusher = MetricsPusher(hub, serve.get_replica_context().replica_id.unique_id, metrics.render)

    async def generate(self, request: GenerateRequest, ingress: Endpoint) -> GenerationOutcome | Refusal:
        """See `GenerationService.generate`; called through the deployment's handle."""
        return await self._service.generate(request, ingress)

    async def probe(self, timeout_s: float) -> None:
        """See `GenerationBackend.probe`; called through the deployment's handle."""
        await self._service.probe(timeout_s)

    async def check_health(self) -> None:
        """Called by Serve, which replaces the replica when this raises."""
        self._service.check()
        if not self._rank.is_alive():
            raise EngineDead("a rank has gone")

    async def __del__(self) -> None:
        """Called by Serve when the replica is stopped, also when `__init__` did not finish."""
        if hasattr(self, "_pusher"):
            await self._pusher.stop()
            await self._service.close()
        if hasattr(self, "_rank"):
            self._rank.stop()
