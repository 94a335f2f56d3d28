"""What a demand will have grown by when a replica that is started now has come: as it steadily grew of late."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

_NUM_SPANS = 5  # that growth is told from
_SHORTEST_S = 10.0  # of a span: below that, chance is taken for growth


@dataclass(frozen=True, slots=True)
class Growth:
    """Means of a demand over equal spans of time, the last ones, and the span that has not ended yet."""

    means: tuple[float, ...] = ()
    since_s: float = 0.0  # when the span began that has not ended
    total: float = 0.0  # of what was seen in it
    num_seen: int = 0

    def seeing(self, demand: float, now_s: float, ahead_s: float) -> "Growth":
        """One moment further; to be told from that, how much there will be `ahead_s` later."""
        if not self.num_seen:
            return replace(self, since_s=now_s, total=demand, num_seen=1)
        if now_s - self.since_s < _span_s(ahead_s):
            return replace(self, total=self.total + demand, num_seen=self.num_seen + 1)
        means = (*self.means, self.total / self.num_seen)[-_NUM_SPANS:]
        return Growth(means, now_s, demand, 1)

    def within(self, ahead_s: float) -> float:
        """So much in so long; 0 if it shrinks. A jump is no growth: most spans must have had their share of it."""
        if len(self.means) < _NUM_SPANS:
            return 0.0
        steps = [after - before for before, after in pairwise(self.means)]
        return max(0.0, _lower_median(steps)) * ahead_s / _span_s(ahead_s)


def _span_s(ahead_s: float) -> float:
    return max(_SHORTEST_S, ahead_s / (_NUM_SPANS - 1))


def _lower_median(values: Sequence[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2]
