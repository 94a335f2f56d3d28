"""What a target replica guesses by, from the configuration and the draft pool, if there is one."""

import time
import uuid
from pathlib import Path
from typing import Any

from ray.serve.handle import DeploymentHandle

from cluster.channel.draft_client import PoolProposer
from cluster.channel.draft_link import ZmqLinks
from cluster.draft_directory import DraftDirectory
from llama4coder.obs.metrics import Metrics
from llama4coder.resolved import ResolvedConfig
from llama4coder.scaling.build import pool_rest_s
from llama4coder.scaling.pool_meter import PoolMeter
from llama4coder.shape import read_shape
from llama4coder.spec.build import beside_ngrams, build_speculation, speculate
from llama4coder.spec.pool_client import PoolClient, PoolLimits
from llama4coder.spec.types import Speculation


class TargetSpeculation:
    """Made in the replica's event loop, which keeps the list of draft replicas up to date.

    `for_engine` belongs to the engine, which closes it.
    """

    def __init__(self, config: ResolvedConfig, pool: DeploymentHandle[Any] | None, metrics: Metrics) -> None:
        vocab_size = read_shape(Path(config.model.path)).vocab_size
        self._directory: DraftDirectory | None = None
        self.for_engine: Speculation
        if pool is None:
            self.for_engine = build_speculation(config, vocab_size, metrics)
        else:
            meter = PoolMeter(metrics, pool_rest_s(config.scaling), time.monotonic)
            proposer = self._follow(config, pool, meter)
            self.for_engine = speculate(beside_ngrams(proposer), config, vocab_size, meter)

    async def stop(self) -> None:
        """Follow the pool no more; idempotent."""
        if self._directory is not None:
            await self._directory.stop()

    def _follow(self, config: ResolvedConfig, pool: DeploymentHandle[Any], meter: PoolMeter) -> PoolProposer:
        speculation = config.speculation
        limits = PoolLimits(speculation.pool.silence_timeout_s, speculation.draft.window_tokens)
        name = uuid.uuid4().hex
        client = PoolClient(name, limits, meter)
        directory = self._directory = DraftDirectory(
            pool, lambda: client.num_sessions > 0 and not meter.is_resting, lambda: meter.use(name)
        )
        return PoolProposer(client, lambda: directory.replicas, ZmqLinks(), meter)
