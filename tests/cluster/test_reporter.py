"""What a replica reports, and when."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from cluster.channel.report_receiver import ReportReceiver
from cluster.reporter import Reporter
from llama4coder.engine.thread import EngineLoad
from llama4coder.errors import EngineDead
from llama4coder.kv.name_journal import NameJournal
from llama4coder.obs.stats import EngineStats
from llama4coder.router.messages import Report
from tests.support.engine_stats import engine_stats

IDLE = engine_stats(num_blocks=40, num_free_blocks=40, num_available_blocks=20)


class FakeThread:
    """An engine's thread, as far as a reporter looks at it."""

    def __init__(self) -> None:
        self.now = EngineLoad(IDLE, num_arriving=0, num_arriving_tokens=0, num_free_places=7)
        self.is_dead = False

    def stats(self) -> EngineStats:
        return self.now.stats

    def load(self) -> EngineLoad:
        return self.now

    def check(self) -> None:
        if self.is_dead:
            raise EngineDead("the reason")


class Setting:
    def __init__(self) -> None:
        self.thread = FakeThread()
        self.journal = NameJournal()
        self.reports: list[Report] = []
        self.times_s: list[float] = []
        self.receiver = ReportReceiver("127.0.0.1", self._take)
        self.reporter = Reporter("name", self.thread, self.journal, num_shards=2)  # type: ignore[arg-type]
        self.reporter.ask(self.receiver.endpoint)

    def _take(self, report: Report) -> None:
        self.reports.append(report)
        self.times_s.append(time.monotonic())

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.reports) < count:
                await asyncio.sleep(0.005)


@pytest.fixture
async def setting() -> AsyncIterator[Setting]:
    setting = Setting()
    yield setting
    await setting.reporter.stop()
    await setting.receiver.close()


async def test_nothing_happens_and_that_is_reported(setting: Setting) -> None:
    await setting.until(5)
    assert [report.number for report in setting.reports] == list(range(1, 6))
    load = setting.reports[-1].load
    assert (setting.reports[-1].replica, load.num_blocks, load.num_shards) == ("name", 20, 2)
    assert (load.num_available_blocks, load.num_free_places, load.is_draining) == (20, 7, False)


async def test_what_has_arrived_counts(setting: Setting) -> None:
    stats = replace(IDLE, num_running=1, num_waiting=2, num_running_tokens=50, num_prefill_tokens=30)
    await setting.until(1)
    setting.thread.now = EngineLoad(stats, num_arriving=3, num_arriving_tokens=100, num_free_places=1)
    setting.reporter.received("a")
    setting.journal.named(b"0123456789abcdef")
    await setting.until(len(setting.reports) + 2)
    reported = next(report for report in setting.reports if report.received)
    assert reported.received == ("a",)
    assert reported.names.added == b"01234567"
    load = reported.load
    assert (load.num_running, load.num_waiting, load.num_running_tokens, load.num_prefill_tokens) == (1, 5, 50, 130)


async def test_a_dead_engine_is_reported(setting: Setting) -> None:
    setting.thread.is_dead = True
    await setting.until(2)
    assert setting.reports[-1].load.is_draining


async def test_the_last_report_says_farewell(setting: Setting) -> None:
    await setting.until(1)
    await setting.reporter.stop()
    await setting.until(2)
    async with asyncio.timeout(5):
        while not setting.reports[-1].load.is_draining:
            await asyncio.sleep(0.005)
    await setting.reporter.stop()
