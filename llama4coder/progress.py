"""How long-running work says how far it is, without knowing who looks."""

from typing import Protocol


class Progress(Protocol):
    """One piece of work after the other: `start`, any number of `advance`, `finish`.

    `unit` is `B` for bytes, else a word in the plural such as `tokens`. `finish` is called after failures, too.
    """

    def start(self, label: str, total: int, unit: str) -> None: ...

    def advance(self, n: int) -> None: ...

    def finish(self) -> None: ...


class NullProgress:
    """Nobody looks."""

    def start(self, label: str, total: int, unit: str) -> None:
        pass

    def advance(self, n: int) -> None:
        pass

    def finish(self) -> None:
        pass
