"""The process of one rank: a Ray actor that loads its share of the model and serves the rank channel."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.channel.endpoint import Endpoint, bind_encrypted, bind_private
from cluster.channel.rank_server import RankServer
from cluster.node import Place, RankDevice, here
from llama4coder.kv.rank_memory import LoadedMemory, PoolMemory
from llama4coder.machine import device_name, free_memory_bytes
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.parallel.meeting import Meeting
from llama4coder.parallel.plan import RankPlan
from llama4coder.progress import NullProgress
from llama4coder.resolve_folder import on_this_machine
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import read_shape

if TYPE_CHECKING:
    import zmq

    from llama4coder.engine.loading_rank import LoadingRank
    from llama4coder.parallel.group import MeetingPlace
    from llama4coder.parallel.share import RankShare


@dataclass(frozen=True, slots=True)
class RankTask:
    """Which rank an actor is."""

    config: ResolvedConfig
    rank: int
    meeting: Meeting | None  # None if it is the only one
    folder: Path | None  # for its channel, on the replica's own node; None on another one

    @property
    def plan(self) -> RankPlan:
        """Its share of the model."""
        engine, model = self.config.engine, self.config.model
        shape = read_shape(Path(model.path), model.rope_scaling)
        return RankPlan(shape, ParallelLayout(engine.heads_shards, engine.kv_shards), self.rank)

    def bind(self, socket: "zmq.Socket[Any]") -> Endpoint:
        """Bind its end of the rank channel."""
        if self.folder is None:
            return bind_encrypted(socket, here().address)
        return bind_private(socket, self.folder, f"{self.rank}.sock")


@dataclass(frozen=True, slots=True)
class Loaded:
    """How much of its weights a rank has read; all zero before it knows."""

    num_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class ServingRank:
    """Where plans are to be sent, and what the pool took."""

    endpoint: Endpoint
    memory: PoolMemory


class RankActor:
    """Made a Ray actor by its replica, which holds the only handle: when the replica goes, so does the rank.

    `place`, `host_meeting` on the first rank, `load`, `measure`, `allocate`, then `serve`, which returns only when no
    more steps will be executed. All ranks `measure` at the same time, and `allocate`. Torch is imported where it is
    needed: the replica, which imports this module, has no use for it.
    """

    def __init__(self) -> None:
        self._progress = _LoadProgress()
        self._server: RankServer | None = None
        self._meeting: MeetingPlace | None = None
        self._task: RankTask | None = None
        self._loading: LoadingRank | None = None

    def place(self) -> Place:
        """Where it runs, once it can load."""
        import llama4coder.engine.loading_rank  # noqa: F401 - slow, so that all ranks import it at the same time

        return here()

    def host_meeting(self, timeout_s: float) -> Meeting:
        """Open the place where the ranks of the replica find each other."""
        from llama4coder.parallel.group import MeetingPlace

        self._meeting = MeetingPlace(here().address, timeout_s)
        return self._meeting.meeting

    def load(self, task: RankTask) -> None:
        """Meet the other ranks and load the weights."""
        from llama4coder.engine.loading_rank import LoadingRank
        from llama4coder.engine.memory_meter import meter_for

        self._task = task = replace(task, config=on_this_machine(task.config))
        meter = meter_for(task.config.engine.device)
        self._loading = LoadingRank.load(task.config, _join(task), meter, self._progress)

    def measure(self) -> LoadedMemory:
        """Run the largest step; returns what the rank takes without its blocks."""
        assert self._loading is not None, "measure before load"
        return self._loading.measure()

    def allocate(self, num_blocks: int) -> ServingRank:
        """Take the blocks and begin to serve."""
        assert self._loading is not None and self._task is not None, "allocate before load"
        ready, self._loading = self._loading.allocate(num_blocks), None
        self._server = RankServer(ready.runner.launch, self._task.bind, answers=self._task.rank == 0)
        return ServingRank(self._server.start(), ready.memory)

    def loaded(self) -> Loaded:
        """How far `load` is."""
        return self._progress.loaded

    def free_memory_bytes(self) -> int:
        """What is left of the memory that it shares with nobody, or with the machine."""
        assert self._task is not None, "asked before load"
        return free_memory_bytes(self._task.config.engine.device)

    def device(self) -> RankDevice:
        """What it computes on."""
        assert self._task is not None, "asked before load"
        return RankDevice(here().node_id, device_name(self._task.config.engine.device))

    def serve(self) -> None:
        """Wait until the rank has failed or was stopped."""
        assert self._server is not None, "serve before allocate"
        self._server.join()


def _join(task: RankTask) -> "RankShare":
    import torch

    from llama4coder.parallel.group import join
    from llama4coder.parallel.share import RankShare

    engine, plan = task.config.engine, task.plan
    if task.meeting is None:
        return RankShare.whole(plan.shape)
    device = torch.device(engine.device, 0) if engine.device == "cuda" else torch.device("cpu")
    return join(task.meeting, plan, here().address, device, engine.step_timeout_s)


class _LoadProgress(NullProgress):
    """Implements `Progress` for whoever asks later."""

    def __init__(self) -> None:
        self.loaded = Loaded(0, 0)

    def start(self, label: str, total: int, unit: str) -> None:
        self.loaded = Loaded(0, total)

    def advance(self, n: int) -> None:
        self.loaded = Loaded(self.loaded.num_bytes + n, self.loaded.total_bytes)
