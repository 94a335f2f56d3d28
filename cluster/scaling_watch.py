"""The metrics of scaling, from what Serve and the policies in its controller say."""

import asyncio
import logging
import time
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, generate_latest
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from cluster.nodes import free_nodes
from cluster.placement import Resources
from cluster.ray_names import SERVE_CLIENT
from cluster.scaling_board import read
from cluster.unplaced import unplaced
from llama4coder.obs.declared.scaling import ScalingMetrics
from llama4coder.obs.replicas import Pool

_PERIOD_S = 5.0
_DEPLOYMENTS: Mapping[str, Pool] = {"TargetReplica": Pool.TARGET, "DraftReplica": Pool.DRAFT}
_RUNNING, _STOPPING = "RUNNING", "STOPPING"  # Serve's names

_log = logging.getLogger(__name__)


class ScalingWatch:
    """Asks Serve now and then, in the background, when somebody wants to know; for one event loop.

    `groups` is what the placement group of one replica needs, by deployment.
    """

    def __init__(self, groups: Mapping[str, Resources]) -> None:
        self._groups = groups
        self._app = serve.get_replica_context().app_name
        self._registry = CollectorRegistry()
        self._metrics = ScalingMetrics(self._registry)
        self._asked_s = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    def render(self) -> bytes:
        """As it was when Serve was last asked."""
        now_s = time.monotonic()
        if now_s - self._asked_s > _PERIOD_S and (self._asking is None or self._asking.done()):
            self._asked_s = now_s
            self._asking = asyncio.create_task(self._ask())
        return generate_latest(self._registry)

    async def _ask(self) -> None:
        try:
            await asyncio.to_thread(self._look)
        except (RayError, RayServeException) as error:
            _log.debug("Serve did not say how many replicas there are: %s", type(error).__name__)

    def _look(self) -> None:
        details = SERVE_CLIENT.find()().get_serve_details()
        deployments = details["applications"][self._app]["deployments"]
        for name, pool in _DEPLOYMENTS.items():
            if name in deployments:
                states = [replica["state"] for replica in deployments[name]["replicas"]]
                self._metrics.on_replicas(pool, len(states) - states.count(_STOPPING), states.count(_RUNNING))
                self._metrics.on_reason(pool, read(self._app, pool))
        self._metrics.on_unplaced(unplaced(deployments, self._groups, free_nodes(), time.time()))
