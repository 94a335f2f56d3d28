"""What a replica tells every router; any of it may be lost, late or repeated."""

from dataclasses import dataclass

from llama4coder.router.types import ReplicaLoad
from llama4coder.types import UNMARKED, Fingerprint


@dataclass(frozen=True, slots=True)
class NameChange:
    """Names of cached blocks, 8 bytes each: all of them, or what has changed since the report before."""

    is_full: bool
    added: bytes = b""
    removed: bytes = b""


@dataclass(frozen=True, slots=True)
class Report:
    """How a replica is now."""

    replica: str  # as Serve's router knows it; another one after each start
    number: int  # one more than the replica's last report, whoever got that
    load: ReplicaLoad
    names: NameChange
    received: tuple[str, ...] = ()  # ids of the requests that have come since the last report: they are in the load
    fingerprint: Fingerprint = UNMARKED  # of what it answers with
