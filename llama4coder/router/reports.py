"""What a replica writes into its reports."""

from collections.abc import Iterable
from dataclasses import replace

from llama4coder.kv.name_journal import NameEvent
from llama4coder.router.messages import Report
from llama4coder.router.names import CachedNames
from llama4coder.router.types import ReplicaLoad
from llama4coder.types import UNMARKED, Fingerprint


class ReportWriter:
    """Numbers reports, and keeps what they must say; for one thread."""

    def __init__(self, replica: str, fingerprint: Fingerprint = UNMARKED) -> None:
        self._replica = replica
        self._fingerprint = fingerprint
        self._number = 0
        self._names = CachedNames()
        self._received: list[str] = []

    def received(self, request_id: str) -> None:
        """A request has come, and every load from now on has it."""
        self._received.append(request_id)

    def write(self, load: ReplicaLoad, events: Iterable[NameEvent]) -> Report:
        """The next report, for routers that got the last one."""
        self._number += 1
        changes = self._names.apply(events)
        received, self._received = tuple(self._received), []
        return Report(self._replica, self._number, load, changes, received, self._fingerprint)

    def whole(self, report: Report) -> Report:
        """The report just written, for routers that did not get the one before."""
        return replace(report, names=self._names.full())
