"""Progress on the terminal; where there is none, a line at the start and a line at the end."""

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars


class RichProgress:
    """A bar on stderr, or lines in a log, with bytes per second for the unit `B`; see `progress.Progress`."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bars: Bars | None = None
        self._task: TaskID | None = None
        self._label = ""
        self._started_s = 0.0
        self._done_bytes: int | None = None  # None for other units

    def start(self, label: str, total: int, unit: str) -> None:
        self.finish()
        self._label = label
        self._started_s = time.monotonic()
        self._done_bytes = 0 if unit == "B" else None
        if not self._console.is_terminal:
            self._console.print(f"{label} ...", highlight=False)
            return
        self._bars = Bars(*_columns(unit), console=self._console)
        self._task = self._bars.add_task(label, total=total)
        self._bars.start()

    def advance(self, n: int) -> None:
        if self._done_bytes is not None:
            self._done_bytes += n
        if self._bars is not None and self._task is not None:
            self._bars.advance(self._task, n)

    def finish(self) -> None:
        if self._bars is not None:
            self._bars.stop()
        elif self._label:
            elapsed_s = time.monotonic() - self._started_s
            self._console.print(f"{self._label}: {elapsed_s:.1f} s{self._told_rate(elapsed_s)}", highlight=False)
        self._bars = self._task = None
        self._label = ""

    def _told_rate(self, elapsed_s: float) -> str:
        if self._done_bytes is None or elapsed_s <= 0:
            return ""
        return f", {self._done_bytes / 1e9:.2f} GB at {self._done_bytes / 1e9 / elapsed_s:.2f} GB/s"


def _columns(unit: str) -> list[ProgressColumn]:
    label, bar = TextColumn("{task.description}"), BarColumn()
    if unit == "B":
        return [label, bar, DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()]
    return [label, bar, MofNCompleteColumn(), TextColumn(unit), TimeRemainingColumn()]
