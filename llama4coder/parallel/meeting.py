"""Where the ranks of a replica find each other; for processes that have no use for torch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Meeting:
    """An address of the first rank's node, kept by `parallel.group.MeetingPlace`."""

    host: str
    port: int
