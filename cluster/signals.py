"""Signals that ask a command for its end, wherever it happens to be."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal asked for the end; raised wherever the main thread happens to be, like KeyboardInterrupt."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number

    @property
    def exit_status(self) -> int:
        """What a shell expects of a process that a signal has ended."""
        return 128 + self.signal_number


def raise_on_signals() -> None:
    """Have signals raise `Stopped` from now on."""
    _handle_signals(_raise_stopped)


@contextmanager
def stoppable() -> Iterator[None]:
    """Have signals raise `Stopped` meanwhile; what they did before counts again afterwards."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    raise_on_signals()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def signals_held() -> Iterator[None]:
    """For imports and calls of Ray: compiled code may swallow what is raised in it, so it is raised afterwards."""
    arrived: list[int] = []
    _handle_signals(lambda number, frame: arrived.append(number))
    try:
        yield
    finally:
        raise_on_signals()
    if arrived:
        raise Stopped(arrived[0])


def ignore_signals() -> None:
    """For the way out, which must not be broken off."""
    _handle_signals(signal.SIG_IGN)


def _handle_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in _SIGNALS:
        signal.signal(number, handler)


def _raise_stopped(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)
