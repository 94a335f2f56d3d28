"""A replica of the draft pool: a draft model in one process, for the sequences of every target that finds it."""

import asyncio
import time
from typing import Any

from prometheus_client import CollectorRegistry
from ray import serve
from ray.serve.handle import DeploymentHandle

from cluster.autoscaling import told
from cluster.channel.draft_server import DraftServer
from cluster.channel.endpoint import bind_encrypted
from cluster.draft_directory import Whereabouts
from cluster.draft_loading import load_drafter
from cluster.metrics_hub import MetricsPusher
from cluster.node import node_address
from llama4coder.obs.metrics import Metrics
from llama4coder.obs.replicas import Pool
from llama4coder.resolved import ResolvedConfig
from llama4coder.scaling.draft_meter import DraftMeter
from llama4coder.scaling.pool_meter import PoolUse
from llama4coder.spec.pool_host import PoolHost


class DraftReplica:
    """One replica of the pool; see `cluster.draft_pool` for the deployment's options.

    Serve calls of targets ask it only where it is. What it knows of their sequences it may lose at any time.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, config: ResolvedConfig, hub: DeploymentHandle[Any]
    ) -> None:
        metrics = Metrics(CollectorRegistry())
        drafter = await asyncio.to_thread(load_drafter, config)
        host = PoolHost(drafter, config.speculation.pool.session_timeout_s)
        self._server = DraftServer(host, lambda socket: bind_encrypted(socket, node_address()), metrics)
        name = serve.get_replica_context().replica_id.unique_id
        self._whereabouts = Whereabouts(name, self._server.start())
        metrics.on_ready(Pool.DRAFT)
        self._meter = DraftMeter(time.monotonic())
        self._pusher = MetricsPusher(hub, name, metrics.render)

    async def whereabouts(self, use: PoolUse) -> Whereabouts:
        """Called through the deployment's handle, at every replica, by a target that says what it has of the pool."""
        self._meter.hear(use, time.monotonic())
        return self._whereabouts

    async def wake(self) -> None:
        """Called through the deployment's handle by a target that found no replica: Serve sees that one is wanted."""

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve for `cluster.draft_scaling`."""
        served = self._server.load
        return told(self._meter.load(served.busy_s, served.num_sessions, time.monotonic()))

    async def check_health(self) -> None:
        """Called by Serve, which replaces the replica when this raises."""
        self._server.check()

    async def __del__(self) -> None:
        """Called by Serve when the replica is stopped, also when `__init__` did not finish."""
        if hasattr(self, "_server"):
            self._server.drain()
            self._server.stop()
            await asyncio.to_thread(self._server.join)
        if hasattr(self, "_pusher"):
            await self._pusher.stop()
