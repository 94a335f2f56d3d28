"""A progress that remembers what it was told."""

from dataclasses import dataclass


@dataclass
class CountingProgress:
    label: str = ""
    total: int = 0
    unit: str = ""
    done: int = 0
    finished: bool = False

    def start(self, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit

    def advance(self, n: int) -> None:
        self.done += n

    def finish(self) -> None:
        self.finished = True
