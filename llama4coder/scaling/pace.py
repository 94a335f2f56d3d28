"""From what is wished at each moment to what is changed: up soon, down late, and not to and fro."""

from dataclasses import dataclass, replace

from llama4coder.obs.scaling import ScaleReason
from llama4coder.scaling.types import Bounds, Delays, Wish

SLACK = 0.8  # a replica goes only when the others would have no more than this share of what calls for one more
_MOST_REGRETS = 3  # each doubles the time that passes before a replica goes
_EPSILON_S = 1e-6


@dataclass(frozen=True, slots=True)
class Pace:
    """What is remembered from one moment to the next."""

    since_s: float | None = None  # fewer, or more, have been wished since then without a break
    is_up: bool = False
    num: int = 0  # the wish nearest to the number there is, in that time
    went_down_s: float | None = None
    num_regrets: int = 0  # how often a replica that had gone was soon wanted back, of late
    reason: ScaleReason = ScaleReason.START  # of the last change


@dataclass(frozen=True, slots=True)
class Paced:
    """The number that there should be, and what to remember."""

    num_replicas: int
    pace: Pace


def keep_pace(pace: Pace, current: int, wish: Wish, now_s: float, bounds: Bounds, delays: Delays) -> Paced:
    """One moment further; `current` are the replicas that should be there by what was last decided."""
    if current != bounds.clip(current):
        return Paced(bounds.clip(current), replace(pace, since_s=None, reason=ScaleReason.BOUNDS))
    wanted = bounds.clip(wish.num_replicas)
    if wanted == current:
        return Paced(current, replace(pace, since_s=None))
    is_up = wanted > current
    if pace.since_s is None or pace.is_up is not is_up:
        pace = replace(pace, since_s=now_s, is_up=is_up, num=wanted)
    pace = replace(pace, num=min(pace.num, wanted) if is_up else max(pace.num, wanted))
    delay_s = delays.up_s if is_up else delays.down_s * 2**pace.num_regrets
    assert pace.since_s is not None, "set above"
    if now_s - pace.since_s < delay_s - _EPSILON_S:
        return Paced(current, pace)
    changed = replace(pace, since_s=None, reason=wish.reason)
    return Paced(pace.num, _noting_regret(changed, now_s, delays) if is_up else replace(changed, went_down_s=now_s))


def _noting_regret(pace: Pace, now_s: float, delays: Delays) -> Pace:
    """Whether the load that made a replica go was the one that it bore itself: then the next one stays longer."""
    is_regret = pace.went_down_s is not None and now_s - pace.went_down_s < 2 * delays.down_s * 2**pace.num_regrets
    return replace(pace, num_regrets=min(_MOST_REGRETS, pace.num_regrets + 1) if is_regret else 0)
