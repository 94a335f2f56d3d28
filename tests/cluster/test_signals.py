"""Signals that come at a bad moment."""

import os
import signal
from collections.abc import Iterator

import pytest

from cluster.signals import Stopped, signals_held, stoppable


@pytest.fixture
def handlers() -> Iterator[None]:
    """Those of a command that runs."""
    with stoppable():
        yield


def test_a_held_signal_is_raised_at_the_end_and_not_before(handlers: None) -> None:
    reached_the_end = False
    with pytest.raises(Stopped) as stopped, signals_held():
        os.kill(os.getpid(), signal.SIGTERM)
        reached_the_end = True
    assert reached_the_end
    assert stopped.value.signal_number == signal.SIGTERM


def test_signals_are_raised_at_once_again_afterwards(handlers: None) -> None:
    with signals_held():
        pass
    with pytest.raises(Stopped):
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the signal was not raised")


def test_an_error_meanwhile_wins(handlers: None) -> None:
    with pytest.raises(ImportError), signals_held():
        os.kill(os.getpid(), signal.SIGTERM)
        raise ImportError


def test_afterwards_signals_do_what_they_did_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped) as stopped, stoppable():
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the signal was not raised")
    assert signal.getsignal(signal.SIGTERM) == before
    assert stopped.value.exit_status == 143
