"""The processes that another one has started, and their end."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Process:
    """A process id that cannot be mistaken for a later process with the same number."""

    pid: int
    start_ticks: int

    def is_running(self) -> bool:
        stat = _read_stat(self.pid)
        return stat is not None and stat.process == self and stat.state != "Z"


@dataclass(frozen=True, slots=True)
class _Stat:
    process: Process
    parent: int
    state: str


def descendants(pids: Iterable[int]) -> set[Process]:
    """Children, their children, and so on; none where there is no /proc."""
    if not _PROC.is_dir():
        return set()
    stats = [stat for entry in _PROC.iterdir() if entry.name.isdigit() and (stat := _read_stat(int(entry.name)))]
    found: set[Process] = set()
    parents = set(pids)
    while parents:
        children = {stat.process for stat in stats if stat.parent in parents} - found
        found |= children
        parents = {child.pid for child in children}
    return found


def kill(processes: Iterable[Process], timeout_s: float) -> set[Process]:
    """SIGKILL what still runs and wait for it; returns what did not end."""
    remaining = {process for process in processes if process.is_running()}
    for process in remaining:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    deadline_s = time.monotonic() + timeout_s
    while remaining and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)
        remaining = {process for process in remaining if process.is_running()}
    return remaining


def _read_stat(pid: int) -> _Stat | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return _Stat(Process(pid, int(fields[19])), parent=int(fields[1]), state=fields[0])
