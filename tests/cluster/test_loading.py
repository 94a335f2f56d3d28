"""One bar over all ranks."""

from cluster.loading import LoadingBar
from cluster.rank import Loaded
from tests.support.progress import CountingProgress


def test_nothing_is_shown_before_every_rank_knows_its_share() -> None:
    progress = CountingProgress()
    LoadingBar(progress).show([Loaded(5, 10), Loaded(0, 0)])
    assert progress.total == 0


def test_one_bar_counts_what_all_ranks_have_read() -> None:
    progress = CountingProgress()
    bar = LoadingBar(progress)
    bar.show([Loaded(1, 10), Loaded(0, 20)])
    assert (progress.label, progress.total, progress.unit) == ("loading weights on 2 ranks", 30, "B")
    bar.show([Loaded(4, 10), Loaded(11, 20)])
    assert (progress.done, progress.finished) == (15, False)
    bar.show([Loaded(10, 10), Loaded(20, 20)])
    assert progress.finished


def test_ranks_that_come_later_begin_a_bar_of_their_own() -> None:
    progress = CountingProgress()
    bar = LoadingBar(progress)
    bar.show([Loaded(2, 10)])
    assert progress.label == "loading weights"
    bar.show([Loaded(3, 10), Loaded(1, 10)])
    assert progress.total == 20


def test_nothing_is_finished_that_was_not_begun() -> None:
    progress = CountingProgress()
    bar = LoadingBar(progress)
    bar.show([])
    bar.finish()
    assert not progress.finished
