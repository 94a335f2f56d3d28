"""What every scaling decision has: bounds, delays, a wish, and what comes of it."""

from dataclasses import dataclass

from llama4coder.obs.scaling import ScaleReason


@dataclass(frozen=True, slots=True)
class Bounds:
    """Replicas that there are at least, and at most."""

    least: int
    most: int

    def clip(self, num_replicas: int) -> int:
        """The nearest number that is allowed."""
        return min(self.most, max(self.least, num_replicas))


@dataclass(frozen=True, slots=True)
class Delays:
    """For how long more, or fewer, must be wanted without a break before anything changes."""

    up_s: float
    down_s: float


@dataclass(frozen=True, slots=True)
class Wish:
    """What the load calls for at this moment."""

    num_replicas: int
    reason: ScaleReason


def more_of(first: Wish, *others: Wish) -> Wish:
    """The one that wants most; of equal ones the first."""
    return max((first, *others), key=lambda wish: wish.num_replicas)
