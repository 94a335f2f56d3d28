"""Target replicas and their deployment handle without Ray: an engine, its channels, and fakes for the rest."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.backend import Recovery
from cluster.channel.endpoint import bind_private
from cluster.channel.executor import ZmqExecutor
from cluster.channel.rank_server import RankServer
from cluster.generation import GenerationService
from cluster.routing import Routing
from llama4coder.engine.engine import Engine
from llama4coder.engine.executor import LaunchedStep
from llama4coder.engine.loading_rank import load_runner
from llama4coder.engine.plan import StepPlan
from llama4coder.engine.runner import ModelRunner
from llama4coder.engine.thread import EngineThread, QueueLimits
from llama4coder.obs.routing import NullRoutingObserver
from llama4coder.obs.stats import NullObserver
from llama4coder.progress import NullProgress
from llama4coder.router.kv_aware import KVAware
from llama4coder.router.messages import Report
from llama4coder.router.router import Router
from llama4coder.types import UNMARKED, Fingerprint
from tests.support.engines import resolved

METRICS = b"# HELP fake_total A fake.\n# TYPE fake_total counter\nfake_total 1.0\n"


class FakeResponse:
    """A `DeploymentResponse` in the same event loop."""

    def __init__(self, task: "asyncio.Task[Any]") -> None:
        self._task = task

    def __await__(self) -> Any:
        return asyncio.shield(self._task).__await__()

    def cancel(self) -> None:
        self._task.cancel()


class FakeMethod:
    def __init__(self, method: Any) -> None:
        self._method = method
        self.replicas: list[str | None] = []
        self.wanted: list[Fingerprint] = []
        self.has_replicas = asyncio.Event()
        self.has_replicas.set()

    def remote(self, *args: Any, wanted: Fingerprint = UNMARKED, replica: str | None = None) -> FakeResponse:
        self.wanted.append(wanted)
        self.replicas.append(replica)
        return FakeResponse(asyncio.create_task(self._call(*args)))

    async def _call(self, *args: Any) -> Any:
        await self.has_replicas.wait()
        return await self._method(*args)


class FakeHandle:
    """A `DeploymentHandle` to one service."""

    def __init__(self, service: Any) -> None:
        self.generate = FakeMethod(service.generate)
        self.probe = FakeMethod(service.probe)


class FakePusher:
    async def everybody(self) -> bytes:
        return METRICS


class BreakableRank:
    """A real model, until it is broken."""

    def __init__(self, runner: ModelRunner) -> None:
        self._runner = runner
        self.broken = False

    def launch(self, plan: StepPlan) -> LaunchedStep:
        if self.broken:
            raise RuntimeError("broken by the test")
        return self._runner.launch(plan)


def routing_over(*reports: Report) -> Routing:
    """A router that has heard of these replicas just now."""
    routing = Routing(Router(KVAware(), 16), NullRoutingObserver())
    for each in reports:
        routing.receive(each)
    return routing


def recovery_within(timeout_s: float) -> Recovery:
    return Recovery(timeout_s, lambda: None)


@dataclass(frozen=True, slots=True)
class Replica:
    """A target replica without Ray."""

    service: GenerationService
    thread: EngineThread
    rank: BreakableRank


@asynccontextmanager
async def running_replica(
    checkpoint: Path, folder: Path, name: str, max_sequences: int = 8, queue_timeout_s: float = 120.0
) -> AsyncIterator[Replica]:
    config = resolved(
        checkpoint, num_blocks=256, max_sequences=max_sequences, max_step_tokens=64, queue_timeout_s=queue_timeout_s
    )
    rank = BreakableRank(load_runner(config, NullProgress()))
    server = RankServer(rank.launch, lambda socket: bind_private(socket, folder, name))
    executor = ZmqExecutor([server.start()], config.engine.heartbeat_timeout_s)
    thread = EngineThread(Engine(config, executor, NullObserver()), QueueLimits(8, 16))
    thread.start()
    service = GenerationService(thread)
    yield Replica(service, thread, rank)
    await service.close()
    server.stop()
    server.join()
