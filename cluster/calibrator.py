"""An engine that is measured where a replica's would be: an actor that its ranks stand around."""

import asyncio

from prometheus_client import CollectorRegistry

from cluster.channel.executor import ZmqExecutor
from cluster.rank_group import RankGroup
from cluster.startup_times import StartupTimes
from cluster.told_progress import Told, ToldProgress
from llama4coder.calibration.measure import measure_engine
from llama4coder.calibration.ranks import MeasuredRanks
from llama4coder.calibration.task import Task
from llama4coder.obs.metrics import Metrics
from llama4coder.planner.calibration import Calibration


class Calibrator:
    """Made a Ray actor in the first bundle of a target's placement group; its ranks end with it."""

    def __init__(self) -> None:
        self._progress = ToldProgress()

    async def measure(self, task: Task) -> Calibration:
        """Start the ranks, time the steps of an engine on them, and end them.

        Raises:
            ConfigError: what they were asked to load cannot be, or there is room for too few kinds of steps.
            EngineDead: a rank has failed.
        """
        group = await RankGroup.start(task.config, StartupTimes(Metrics(CollectorRegistry())))
        try:
            return await asyncio.to_thread(measure_engine, task, await _opened(group), self._progress)
        finally:
            group.stop()

    async def told(self) -> Told | None:
        """How far the measuring is; None before and afterwards."""
        return self._progress.told


async def _opened(group: RankGroup) -> MeasuredRanks:
    devices = await group.devices()
    config = group.started.config
    executor = ZmqExecutor(group.started.endpoints, config.engine.heartbeat_timeout_s)
    num_nodes = len({device.node_id for device in devices})
    return MeasuredRanks(executor, config, [device.name for device in devices], num_nodes)
