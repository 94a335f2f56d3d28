"""Progress of work in one process, shown in another that asks for it now and then."""

from dataclasses import dataclass

from llama4coder.progress import Progress


@dataclass(frozen=True, slots=True)
class Told:
    """How far a piece of work is."""

    label: str
    total: int
    unit: str
    done: int = 0


class ToldProgress:
    """Implements `Progress` for whoever asks; for one thread that works, and any that ask."""

    def __init__(self) -> None:
        self.told: Told | None = None  # None: nothing is under way

    def start(self, label: str, total: int, unit: str) -> None:
        """See `Progress`."""
        self.told = Told(label, total, unit)

    def advance(self, n: int) -> None:
        """See `Progress`."""
        told = self.told
        assert told is not None, "advance before start"
        self.told = Told(told.label, told.total, told.unit, told.done + n)

    def finish(self) -> None:
        """See `Progress`."""
        self.told = None


class ProgressMirror:
    """Shows on `progress` what it is told."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._shown: Told | None = None

    def show(self, told: Told | None) -> None:
        """How far it is now."""
        shown = self._shown
        if told is None or shown is None or told.label != shown.label:
            self.finish()
            shown = None
        if told is None:
            return
        if shown is None:
            self._progress.start(told.label, told.total, told.unit)
        self._progress.advance(told.done - (0 if shown is None else shown.done))
        self._shown = told

    def finish(self) -> None:
        """Take the bar away; idempotent."""
        if self._shown is not None:
            self._progress.finish()
        self._shown = None
