"""Who goes back to the queue when promises do not suffice, and what that came to."""

from collections.abc import Iterable

from llama4coder.engine.passages import Readmission
from llama4coder.engine.sequence import Sequence


def choose_victim(running: Iterable[Sequence]) -> Sequence:
    """The newest of the running sequences (oldest first) that has never been preempted.

    There is one: a sequence that was preempted is promised all that it could need when it is admitted again, so
    whoever outgrew its reservation was not. Hence nobody is preempted twice, and every sequence comes to its end.
    """
    fresh = [seq for seq in running if not seq.preempted]
    assert fresh, "a sequence outgrew all that it could need"
    return fresh[-1]


def readmission(seq: Sequence, num_cached_tokens: int) -> Readmission:
    """What a preempted sequence has back of what it had computed."""
    num_restored = min(num_cached_tokens, seq.num_lost)
    return Readmission(num_restored, seq.num_lost - num_restored)
