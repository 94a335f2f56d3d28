"""The report channel, both ends in this process."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
import zmq

from cluster.channel import report_sender
from cluster.channel.endpoint import Endpoint, connect
from cluster.channel.report_frames import decode_report
from cluster.channel.report_receiver import ReportReceiver
from cluster.channel.report_sender import ReportSender
from llama4coder.kv.name_journal import NameEvent
from llama4coder.router.messages import Report
from llama4coder.router.names import KnownNames, short_name
from llama4coder.router.reports import ReportWriter
from tests.support.replicas import load

_TIMEOUT_S = 30.0
NAMES = [number.to_bytes(16, "little") for number in range(1, 9)]


class Inbox:
    """Everything that has arrived, and what a router would believe to be cached."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.damaged = 0  # the number of a report that cannot be read
        self._names = KnownNames()
        self._has_news = asyncio.Event()

    def take(self, report: Report) -> None:
        if report.number == self.damaged:
            raise ValueError("names that are none")
        self._names.apply(report.names)
        self.reports.append(report)
        self._has_news.set()

    async def until(self, number: int) -> None:
        """Wait for the report with this number."""
        async with asyncio.timeout(_TIMEOUT_S):
            while not self.reports or self.reports[-1].number < number:
                self._has_news.clear()
                await self._has_news.wait()

    def cached(self) -> list[bytes]:
        return [name for name in NAMES if self._names.num_leading([short_name(name)])]


class Replica:
    """Writes reports and sends them, at times of the test's own."""

    def __init__(self) -> None:
        self.sender = ReportSender(patience_s=10.0)
        self._writer = ReportWriter("replica")

    def report(self, now_s: float = 0.0, named: Sequence[bytes] = (), request_id: str | None = None) -> Report:
        if request_id is not None:
            self._writer.received(request_id)
        report = self._writer.write(load(num_running=3), [NameEvent(name, is_cached=True) for name in named])
        self.sender.send(report, self._writer.whole, now_s)
        return report


@pytest.fixture
async def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
async def receiver(inbox: Inbox) -> AsyncIterator[ReportReceiver]:
    receiver = ReportReceiver("127.0.0.1", inbox.take)
    yield receiver
    await receiver.close()


@pytest.fixture
def replica() -> Iterator[Replica]:
    replica = Replica()
    yield replica
    replica.sender.close()


async def test_reports_arrive_as_they_were(receiver: ReportReceiver, inbox: Inbox, replica: Replica) -> None:
    replica.sender.ask(receiver.endpoint, 0.0)
    replica.report(named=NAMES[:3])
    second = replica.report(named=NAMES[3:5], request_id="a")
    await inbox.until(2)
    assert inbox.reports[0].names.is_full
    assert inbox.reports[1] == second
    assert (second.received, second.names.is_full) == (("a",), False)
    assert inbox.cached() == NAMES[:5]


async def test_whoever_asks_later_gets_all_names(receiver: ReportReceiver, inbox: Inbox, replica: Replica) -> None:
    replica.report(named=NAMES[:3])
    replica.sender.ask(receiver.endpoint, 0.0)
    replica.report(named=NAMES[3:4])
    await inbox.until(2)
    assert [report.number for report in inbox.reports] == [2]
    assert inbox.cached() == NAMES[:4]


async def test_all_names_are_said_again_now_and_then(
    receiver: ReportReceiver, inbox: Inbox, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_sender, "_WHOLE_EVERY", 2)
    replica.sender.ask(receiver.endpoint, 0.0)
    for _ in range(7):
        replica.report()
    await inbox.until(7)
    assert [report.names.is_full for report in inbox.reports] == [True, False, False, True, False, False, True]


async def test_after_a_loss_all_names_are_said(
    inbox: Inbox, replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ingress is away at first; what does not fit into the queue meanwhile is lost."""
    monkeypatch.setattr(report_sender, "_MAX_QUEUED_FRAMES", 1)
    endpoint = Endpoint(f"ipc://{tmp_path / 'socket'}", None)
    replica.sender.ask(endpoint, 0.0)
    replica.report(named=NAMES[:1])
    replica.report(named=NAMES[1:2])
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.bind(endpoint.address)
        inbox.take(decode_report(await asyncio.to_thread(socket.recv)))
        assert inbox.cached() == NAMES[:1]
        replica.report(named=NAMES[2:3])
        inbox.take(decode_report(await asyncio.to_thread(socket.recv)))
    assert [report.number for report in inbox.reports] == [1, 3]
    assert inbox.cached() == NAMES[:3]


async def test_an_ingress_that_asks_no_more_gets_none(receiver: ReportReceiver, inbox: Inbox, replica: Replica) -> None:
    replica.sender.ask(receiver.endpoint, 0.0)
    replica.report(now_s=5.0)
    replica.sender.ask(receiver.endpoint, 6.0)
    replica.report(now_s=15.0)
    await inbox.until(2)  # the second link could overtake the first
    replica.report(now_s=20.0)
    replica.sender.ask(receiver.endpoint, 21.0)
    replica.report(now_s=21.0)
    await inbox.until(4)
    assert [report.number for report in inbox.reports] == [1, 2, 4]


async def test_several_ingresses_get_the_same(receiver: ReportReceiver, inbox: Inbox, replica: Replica) -> None:
    other_inbox = Inbox()
    other = ReportReceiver("127.0.0.1", other_inbox.take)
    for each in (receiver, other):
        replica.sender.ask(each.endpoint, 0.0)
    replica.report(named=NAMES[:2])
    replica.report(request_id="a")
    await inbox.until(2)
    await other_inbox.until(2)
    assert inbox.reports == other_inbox.reports
    await other.close()


async def test_damage_is_ignored(receiver: ReportReceiver, inbox: Inbox, replica: Replica) -> None:
    inbox.damaged = 1
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        connect(socket, receiver.endpoint)
        socket.send(b"\xc1 not msgpack")
        await asyncio.sleep(0.1)
    replica.sender.ask(receiver.endpoint, 0.0)
    replica.report()
    replica.report()
    await inbox.until(2)
    assert [report.number for report in inbox.reports] == [2]
