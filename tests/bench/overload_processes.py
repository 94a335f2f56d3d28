"""Memory and processor time of the server's processes, by what each of them is."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from cluster.processes import Process, descendants

_PROC = Path("/proc")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_TICK_FIELDS = slice(11, 13)  # utime and stime, behind the name


@dataclass(frozen=True, slots=True)
class MemorySample:
    """What one process held at a moment: all resident pages, and those that no file or shared memory backs."""

    at_s: float
    resident_bytes: int
    anonymous_bytes: int


@dataclass(frozen=True, slots=True)
class Growth:
    """Medians of two windows of one process's samples."""

    role: str
    before_bytes: float
    after_bytes: float
    anonymous_growth_bytes: float

    @property
    def ratio(self) -> float:
        """0.02 is two per cent more than before."""
        return self.after_bytes / self.before_bytes - 1


@dataclass(frozen=True, slots=True)
class Window:
    """A span of the monotonic clock."""

    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s

    def overlap_s(self, start_s: float, end_s: float) -> float:
        """How much of a span lies within."""
        return max(0.0, min(self.end_s, end_s) - max(self.start_s, start_s))


@dataclass(frozen=True, slots=True)
class History:
    """All samples of one process."""

    role: str
    samples: Sequence[MemorySample]


class ProcessTable:
    """Every process under a root since it is first seen, with its role and its samples."""

    def __init__(self, root_pid: int) -> None:
        self._root_pid = root_pid
        self.roles: dict[Process, str] = {}
        self.samples: dict[Process, list[MemorySample]] = {}

    def sample(self) -> None:
        """Look once; costs some 20 microseconds per process."""
        at_s = time.monotonic()
        for process in sorted(descendants({self._root_pid}), key=lambda process: process.pid):
            self.roles.setdefault(process, _role(process.pid))
            pages = _read(process.pid, "statm").split()
            if len(pages) > 2:
                resident, shared = int(pages[1]), int(pages[2])
                sample = MemorySample(at_s, resident * _PAGE_BYTES, (resident - shared) * _PAGE_BYTES)
                self.samples.setdefault(process, []).append(sample)

    def dead(self) -> list[str]:
        """The roles of those that have ended."""
        return sorted(role for process, role in self.roles.items() if not process.is_running())

    def cpu_s(self) -> float:
        """Processor time of all that run, so far."""
        return sum(cpu_s(process.pid) for process in self.roles)

    def histories(self) -> list[History]:
        """Of every process, for whoever wants to see when one grew."""
        return [History(self.roles[process], samples) for process, samples in self.samples.items()]

    def growths(self, before: Window, after: Window) -> Iterator[Growth]:
        """Of every process that was there in both windows, the largest first."""
        found = [growth(self.roles[process], samples, before, after) for process, samples in self.samples.items()]
        yield from sorted((one for one in found if one), key=lambda one: -one.after_bytes)


def growth(role: str, samples: Sequence[MemorySample], before: Window, after: Window) -> Growth | None:
    """None where a window has no sample."""
    early, late = [_within(samples, window) for window in (before, after)]
    if not early or not late:
        return None
    anonymous = [median(sample.anonymous_bytes for sample in window) for window in (early, late)]
    resident = [median(sample.resident_bytes for sample in window) for window in (early, late)]
    return Growth(role, resident[0], resident[1], anonymous[1] - anonymous[0])


def cpu_s(pid: int) -> float:
    """Processor time of one process, all its threads; 0 if it is gone."""
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return sum(map(int, fields[_TICK_FIELDS])) / _TICKS_PER_S


def _within(samples: Iterable[MemorySample], window: Window) -> list[MemorySample]:
    return [sample for sample in samples if window.start_s <= sample.at_s <= window.end_s]


def _role(pid: int) -> str:
    """Such as `Ingress` for what Ray calls `ray::ServeReplica:llama4coder:Ingress.method`, else program and script."""
    words = [word for word in _read(pid, "cmdline").split("\0") if word.strip()]
    if not words:
        return "unknown"
    if words[0].startswith("ray::"):
        return words[0].removeprefix("ray::").strip().split(":")[-1].split(".")[0]
    if "-m" in words:
        return " ".join(words[words.index("-m") + 1 :][:2]).split(" /")[0]
    script = next((word for word in words[1:] if word.endswith(".py")), words[0])
    return Path(script).name


def _read(pid: int, name: str) -> str:
    try:
        return (_PROC / str(pid) / name).read_text(errors="replace")
    except OSError:
        return ""
