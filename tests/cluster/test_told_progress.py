"""Progress that is told in one process and shown in another."""

from cluster.told_progress import ProgressMirror, ToldProgress
from tests.support.progress import CountingProgress


def test_what_is_told_is_shown() -> None:
    there, here = ToldProgress(), CountingProgress()
    mirror = ProgressMirror(here)
    mirror.show(there.told)
    assert (here.label, here.finished) == ("", False), "nothing is under way"
    there.start("timing steps", 10, "trials")
    there.advance(2)
    mirror.show(there.told)
    assert (here.label, here.total, here.unit, here.done) == ("timing steps", 10, "trials", 2)
    there.advance(5)
    mirror.show(there.told)
    mirror.show(there.told)
    assert here.done == 7 and not here.finished
    there.finish()
    mirror.show(there.told)
    assert here.finished


def test_one_piece_after_the_other() -> None:
    there, here = ToldProgress(), CountingProgress()
    mirror = ProgressMirror(here)
    for label in ("one", "another"):
        there.start(label, 4, "trials")
        there.advance(3)
        mirror.show(there.told)
        assert here.label == label
    assert here.finished and here.done == 6


def test_the_bar_goes_when_nobody_tells_any_more() -> None:
    there, here = ToldProgress(), CountingProgress()
    mirror = ProgressMirror(here)
    there.start("timing steps", 10, "trials")
    mirror.show(there.told)
    mirror.finish()
    assert here.finished
    here.finished = False
    mirror.finish()
    assert not here.finished
