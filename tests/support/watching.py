"""Processes of a server, found by what they are called, and waiting for what becomes of them."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from cluster.processes import Process, descendants

RANK = b"ray::RankActor"
_POLL_S = 0.1


def until(condition: Callable[[], bool], timeout_s: float) -> float:
    """Wait for `condition`; returns after how many seconds it held, `AssertionError` if it does not in time."""
    started_s = time.monotonic()
    while not condition():
        assert time.monotonic() - started_s < timeout_s, "it did not come to pass"
        time.sleep(_POLL_S)
    return time.monotonic() - started_s


def command_line(pid: int) -> bytes:
    """Empty if the process has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def processes_named(pid: int, part: bytes) -> set[Process]:
    """Descendants of `pid` with `part` in their command lines."""
    return {process for process in descendants({pid}) if part in command_line(process.pid)}


def running(processes: Iterable[Process]) -> set[Process]:
    """Those that still are, frozen ones too."""
    return {process for process in processes if process.is_running()}
