"""Signals that come at a bad moment."""

import os
import signal
from collections.abc import Iterator

import pytest

from cluster import serve_command
from cluster.serve_command import Stopped


@pytest.fixture
def handlers() -> Iterator[None]:
    """The handlers of `llama4coder serve`, and afterwards those of the tests again."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    serve_command._handle_signals(serve_command._raise_stopped)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_held_signal_is_raised_at_the_end_and_not_before(handlers: None) -> None:
    reached_the_end = False
    with pytest.raises(Stopped) as stopped, serve_command._signals_held():
        os.kill(os.getpid(), signal.SIGTERM)
        reached_the_end = True
    assert reached_the_end
    assert stopped.value.signal_number == signal.SIGTERM


def test_signals_are_raised_at_once_again_afterwards(handlers: None) -> None:
    with serve_command._signals_held():
        pass
    with pytest.raises(Stopped):
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the signal was not raised")


def test_an_error_meanwhile_wins(handlers: None) -> None:
    with pytest.raises(ImportError), serve_command._signals_held():
        os.kill(os.getpid(), signal.SIGTERM)
        raise ImportError
