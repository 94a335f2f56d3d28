"""A replica as a router sees it: its last report, and what the router has sent it since."""

from collections.abc import Sequence
from dataclasses import dataclass

from llama4coder.router.messages import Report
from llama4coder.router.names import KnownNames, num_common
from llama4coder.router.types import BlockName, Candidate, Query, ReplicaLoad


@dataclass(slots=True)
class _Sent:
    """A request that was sent there, until the replica's reports say all of it."""

    num_new_tokens: int
    num_new_blocks: int  # of each shard
    names: Sequence[BlockName]
    is_counted: bool = False  # the load of the last report has it
    has_begun: bool = False  # the names of its blocks are in the next report


class ReplicaView:
    """Soft state: a lost report or a forgotten request makes the next choices worse, until a report comes."""

    def __init__(self, report: Report, now_s: float, block_size: int) -> None:
        self._block_size = block_size
        self._names = KnownNames()
        self._sent: dict[str, _Sent] = {}
        self._take(report, now_s)

    def receive(self, report: Report, now_s: float) -> None:
        """Take over a report, unless a later one has come before it; `ValueError` if it is damaged."""
        if report.number <= self._number:
            return
        self._take(report, now_s)
        for request_id in report.received:
            if request_id in self._sent:
                self._sent[request_id].is_counted = True
        self._sent = {request_id: sent for request_id, sent in self._sent.items() if not sent.has_begun}

    def age_s(self, now_s: float) -> float:
        """Since the last report."""
        return now_s - self._received_s

    def send(self, request_id: str, query: Query) -> None:
        """Count a request as if it were there already."""
        num_cached = self._num_cached_blocks(query)
        num_new_tokens = query.num_tokens - num_cached * self._block_size
        self._sent[request_id] = _Sent(num_new_tokens, self._blocks_per_shard(query, num_cached), query.names)

    def begun(self, request_id: str) -> None:
        """Its first token has come: the replica has computed its prompt."""
        if request_id in self._sent:
            self._sent[request_id].num_new_tokens = 0
            self._sent[request_id].has_begun = True

    def ended(self, request_id: str) -> None:
        """It is over; what it computed stays cached there."""
        sent = self._sent.get(request_id)
        if sent is not None and sent.has_begun:
            sent.is_counted = True
        elif sent is not None:
            del self._sent[request_id]

    def candidate_for(self, query: Query) -> Candidate:
        """What a policy may know."""
        load, uncounted = self._load, [sent for sent in self._sent.values() if not sent.is_counted]
        num_cached = self._num_cached_blocks(query)
        num_needed = self._blocks_per_shard(query, num_cached) + sum(sent.num_new_blocks for sent in uncounted)
        return Candidate(
            replica=self._replica,
            num_sequences=load.num_running + load.num_waiting + len(uncounted),
            num_prefill_tokens=load.num_prefill_tokens + sum(sent.num_new_tokens for sent in uncounted),
            num_running_tokens=load.num_running_tokens,
            num_cached_tokens=num_cached * self._block_size,
            can_take=num_needed <= load.num_available_blocks and len(uncounted) < load.num_free_places,
            is_draining=load.is_draining,
        )

    def _take(self, report: Report, now_s: float) -> None:
        self._names.apply(report.names)
        self._replica = report.replica
        self.fingerprint = report.fingerprint
        self._number = report.number
        self._load: ReplicaLoad = report.load
        self._received_s = now_s

    def _num_cached_blocks(self, query: Query) -> int:
        there = self._names.num_leading(query.names)
        return max(there, *(num_common(query.names, sent.names) for sent in self._sent.values()), 0)

    def _blocks_per_shard(self, query: Query, num_cached: int) -> int:
        """That it must get to hold the query and its first token."""
        num_blocks = -(-(query.num_tokens + 1) // self._block_size) - num_cached
        return -(-num_blocks // self._load.num_shards)
