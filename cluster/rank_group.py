"""All rank actors of one replica: placed, numbered, loaded, watched, and ended together."""

import asyncio
import logging
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster.channel.endpoint import Endpoint
from cluster.errors import original_error
from cluster.loading import new_rank_name
from cluster.node import Place, RankDevice, here
from cluster.placement import RANK_CPUS, target_placement
from cluster.rank import Loaded, RankActor, RankTask, ServingRank
from cluster.startup_times import StartupTimes
from llama4coder.errors import EngineDead
from llama4coder.kv.budget import settle_pool
from llama4coder.kv.memory_line import memory_stats
from llama4coder.kv.rank_memory import LoadedMemory
from llama4coder.obs.stats import MemoryStats
from llama4coder.resolve_folder import on_this_machine
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import read_shape

_RANK_CONCURRENCY = 4  # `serve` holds one call for as long as the rank lives
_PROGRESS_PERIOD_S = 5.0

_log = logging.getLogger("ray.serve")  # the one that Serve writes to the replica's file


@dataclass(frozen=True, slots=True)
class StartedRanks:
    """What is known of ranks when they serve."""

    endpoints: Sequence[Endpoint]
    config: ResolvedConfig  # with the pool that they have
    memory: MemoryStats  # of the fullest


class RankGroup:
    """The replica's view of its ranks, kept up to date by one call to each that lasts as long as its actor.

    When one rank goes, the others are of no use, and are ended at once.
    """

    def __init__(
        self,
        actors: Sequence["ActorHandle[Any]"],
        started: "StartedRanks",
        folder: tempfile.TemporaryDirectory[str],
    ) -> None:
        self.started = started
        self._actors = actors
        self._folder = folder
        self._is_alive = True
        self._watchers = [asyncio.create_task(self._watch(actor)) for actor in actors]

    @classmethod
    async def start(cls, config: ResolvedConfig, times: StartupTimes) -> "RankGroup":
        """Create the actors in the replica's own placement group and load the model; all or none."""
        config = await asyncio.to_thread(on_this_machine, config)
        group = ray.util.get_current_placement_group()
        assert group is not None, "a target replica has a placement group of its own"
        actors = [_create(config, group, bundle) for bundle in target_placement(config).rank_bundles]
        folder = tempfile.TemporaryDirectory(prefix="ranks-")  # mode 0700; the replica's, which outlives its ranks
        try:
            with times.phase("placement"):
                places = await _all(actor.place.remote() for actor in actors)
            numbered = in_order(places, here().node_id)
            actors = [actors[index] for index in numbered]
            with times.phase("load"):
                await _load(config, actors, [places[index] for index in numbered], Path(folder.name))
            with times.phase("memory"):
                started = await _allocate(config, actors)
        except BaseException as error:
            _kill(actors)
            folder.cleanup()
            if isinstance(error, ray.exceptions.RayError):
                raise original_error(error) from None
            raise
        return cls(actors, started, folder)

    def check(self) -> None:
        """Raise `EngineDead` unless all of them are alive."""
        if not self._is_alive:
            raise EngineDead("a rank has gone")

    async def free_memory(self) -> Mapping[int, int]:
        """Bytes that nobody has taken on each rank's device. Raises `RayError` when a rank is gone."""
        return dict(enumerate(await _all(actor.free_memory_bytes.remote() for actor in self._actors)))

    async def devices(self) -> Sequence[RankDevice]:
        """What each rank computes on. Raises `RayError` when a rank is gone."""
        return await _all(actor.device.remote() for actor in self._actors)

    def connected(self) -> None:
        """To be called when the first step has come back from them: the channels' names are needed no more."""
        self._folder.cleanup()

    def stop(self) -> None:
        """Kill the actors: they hold nothing that must be put away. Idempotent."""
        self._is_alive = False
        for watcher in self._watchers:
            watcher.cancel()
        _kill(self._actors)
        self._folder.cleanup()

    async def _watch(self, actor: "ActorHandle[Any]") -> None:
        try:
            await actor.serve.remote()
        except ray.exceptions.RayError:
            pass  # dead or unreachable: the same to us
        finally:
            self._is_alive = False
            _kill(self._actors)


def in_order(places: Sequence[Place], own_node_id: str) -> list[int]:
    """The indices of places by node and device, those of this node first: neighbours are neighbours in rank."""
    return sorted(range(len(places)), key=lambda index: (places[index].node_id != own_node_id, places[index], index))


def _create(config: ResolvedConfig, group: PlacementGroup, bundle: int) -> Any:
    options = {
        "num_cpus": RANK_CPUS,
        "num_gpus": 1 if config.engine.device == "cuda" else 0,
        "max_concurrency": _RANK_CONCURRENCY,
        "name": new_rank_name(),
        "scheduling_strategy": PlacementGroupSchedulingStrategy(group, bundle),
    }
    return ray.remote(RankActor).options(**options).remote()


async def _load(config: ResolvedConfig, actors: Sequence[Any], places: Sequence[Place], folder: Path) -> None:
    """Every rank at the same time, told of in the log."""
    meeting = await actors[0].host_meeting.remote(config.engine.step_timeout_s) if len(actors) > 1 else None
    own_node_id = here().node_id
    folders = [folder if place.node_id == own_node_id else None for place in places]
    tasks = [RankTask(config, rank, meeting, near) for rank, near in enumerate(folders)]
    telling = asyncio.create_task(_tell(actors))
    try:
        await _all(actor.load.remote(task) for actor, task in zip(actors, tasks, strict=True))
    finally:
        telling.cancel()


async def _allocate(config: ResolvedConfig, actors: Sequence[Any]) -> StartedRanks:
    """Measure every rank, and give all of them as many blocks as the fullest has room for."""
    shape = read_shape(Path(config.model.path), config.model.rope_scaling)
    measured: list[LoadedMemory] = await _all(actor.measure.remote() for actor in actors)
    settled = settle_pool(config, shape, measured)
    serving: list[ServingRank] = await _all(actor.allocate.remote(settled.engine.num_blocks) for actor in actors)
    fullest = max(range(len(actors)), key=lambda rank: measured[rank].total)
    memory = memory_stats(settled, shape, measured[fullest], serving[fullest].memory)
    return StartedRanks([rank.endpoint for rank in serving], settled, memory)


async def _tell(actors: Sequence[Any]) -> None:
    while True:
        await asyncio.sleep(_PROGRESS_PERIOD_S)
        loaded: list[Loaded] = await _all(actor.loaded.remote() for actor in actors)
        done, total = sum(one.num_bytes for one in loaded), sum(one.total_bytes for one in loaded)
        _log.info("loading weights: %.2f of %.2f GB on %d ranks", done / 1e9, total / 1e9, len(actors))


async def _all(calls: Iterable[Any]) -> list[Any]:
    """The results of calls to several actors; the first error as soon as it is there."""
    return list(await asyncio.gather(*calls))


def _kill(actors: Sequence["ActorHandle[Any]"]) -> None:
    for actor in actors:
        ray.kill(actor)
