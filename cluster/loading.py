"""One bar over all ranks that load weights, for whoever waits for them in another process."""

import uuid
from collections.abc import Sequence

import ray

from cluster.rank import Loaded
from llama4coder.progress import Progress

_NAME_PREFIX = "rank-"
_PATIENCE_S = 1.0


def new_rank_name() -> str:
    """A name for a rank's actor, by which it is found here."""
    return _NAME_PREFIX + uuid.uuid4().hex


def ask_ranks() -> list[Loaded]:
    """How far every rank is that there is now; none if they do not all answer at once."""
    names = [name for name in ray.util.list_named_actors() if name.startswith(_NAME_PREFIX)]
    try:
        ranks = [ray.get_actor(name) for name in names]
        loaded: list[Loaded] = ray.get([rank.loaded.remote() for rank in ranks], timeout=_PATIENCE_S)
    except (ray.exceptions.RayError, ValueError):  # one has gone since, or is busy
        return []
    return loaded


class LoadingBar:
    """Shows on `progress` what it is told; nothing before every rank knows its share, nor when all have it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._shown = Loaded(0, 0)

    def show(self, ranks: Sequence[Loaded]) -> None:
        """How far each rank is."""
        now = Loaded(sum(rank.num_bytes for rank in ranks), sum(rank.total_bytes for rank in ranks))
        if now.num_bytes == now.total_bytes or not all(rank.total_bytes for rank in ranks):
            self.finish()
            return
        if now.total_bytes != self._shown.total_bytes:
            on_ranks = f" on {len(ranks)} ranks" if len(ranks) > 1 else ""
            self._progress.start(f"loading weights{on_ranks}", now.total_bytes, "B")
            self._shown = Loaded(0, now.total_bytes)
        self._progress.advance(now.num_bytes - self._shown.num_bytes)
        self._shown = now

    def finish(self) -> None:
        """Take the bar away; idempotent."""
        if self._shown.total_bytes:
            self._progress.finish()
        self._shown = Loaded(0, 0)
