"""What keeps the ingresses' routers informed of a target replica."""

import asyncio
import time
from collections.abc import Callable

from cluster.channel.endpoint import Endpoint
from cluster.channel.report_sender import ReportSender
from cluster.tasks import cancel
from llama4coder.engine.thread import EngineThread
from llama4coder.errors import EngineDead
from llama4coder.kv.name_journal import NameJournal
from llama4coder.obs.stats import EngineStats
from llama4coder.router.reports import ReportWriter
from llama4coder.router.router import REPORT_PERIOD_S
from llama4coder.router.types import ReplicaLoad
from llama4coder.types import UNMARKED, Fingerprint

_TICK_S = 0.05  # a report when something has happened
_PATIENCE_S = 30.0  # with an ingress that has not asked for so long


class Reporter:
    """Reports at least every `REPORT_PERIOD_S`; for the event loop that created it."""

    def __init__(
        self,
        replica: str,
        thread: EngineThread,
        journal: NameJournal,
        num_shards: int,
        fingerprint: Fingerprint = UNMARKED,
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._thread = thread
        self._journal = journal
        self._num_shards = num_shards
        self._is_draining = is_draining
        self._writer = ReportWriter(replica, fingerprint)
        self._sender = ReportSender(_PATIENCE_S)
        self._is_stopping = False
        self._reported: EngineStats | None = None
        self._reported_s = float("-inf")
        self._task = asyncio.create_task(self._report_forever())

    def ask(self, ingress: Endpoint) -> None:
        """An ingress wants reports from now on, or still."""
        self._sender.ask(ingress, time.monotonic())

    def received(self, request_id: str) -> None:
        """To be called in the same turn of the event loop that hands a request to the engine."""
        self._writer.received(request_id)

    async def stop(self) -> None:
        """Say that the replica will soon be gone, and nothing more; idempotent."""
        await cancel(self._task)
        if not self._is_stopping:
            self._is_stopping = True
            self._report(time.monotonic())
            self._sender.close()

    async def _report_forever(self) -> None:
        while True:
            now_s = time.monotonic()
            is_new = self._thread.stats() is not self._reported
            if is_new or now_s - self._reported_s > REPORT_PERIOD_S - _TICK_S:
                self._report(now_s)
            await asyncio.sleep(_TICK_S)

    def _report(self, now_s: float) -> None:
        report = self._writer.write(self._load(), self._journal.take())
        self._sender.send(report, self._writer.whole, now_s)
        self._reported_s = now_s

    def _load(self) -> ReplicaLoad:
        load = self._thread.load()
        self._reported = stats = load.stats
        return ReplicaLoad(
            num_running=stats.num_running,
            num_waiting=stats.num_waiting + load.num_arriving,
            num_running_tokens=stats.num_running_tokens,
            num_prefill_tokens=stats.num_prefill_tokens + load.num_arriving_tokens,
            num_blocks=stats.num_blocks // self._num_shards,
            num_available_blocks=stats.num_available_blocks,
            num_shards=self._num_shards,
            num_free_places=load.num_free_places,
            is_draining=self._is_stopping or self._is_draining() or not self._is_alive(),
        )

    def _is_alive(self) -> bool:
        try:
            self._thread.check()
        except EngineDead:
            return False
        return True
