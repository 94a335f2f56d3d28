"""How many target replicas there should be."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from llama4coder.obs.scaling import ScaleReason
from llama4coder.scaling.growth import Growth
from llama4coder.scaling.pace import SLACK, Pace, keep_pace
from llama4coder.scaling.types import Bounds, Delays, Wish, more_of

_MOST_GROWTH = 4  # times the replicas that run: what waits for those that start must not call for ever more of them
_MEMORY_S = 60.0  # of a trend
_RISING = 1.1  # times the trend
_MOST_AHEAD = 1.5  # times the demand that there is: growth that is told from the past is a guess


@dataclass(frozen=True, slots=True)
class TargetLoad:
    """What one replica has to do."""

    kv_share: float = 0.0  # of its blocks: promised, or needed by whoever waits, so that it may exceed 1
    prefill_share: float = 0.0  # of the time of late: what the prompts that came take to compute
    backlog_s: float = 0.0  # to compute all prompt tokens that it has accepted, at the rate of late
    ttft_s: float = 0.0  # of the slowest tenth of first tokens of late; 0 when there were none
    num_streams: float = 0.0  # running and waiting


@dataclass(frozen=True, slots=True)
class Objectives:
    """What each replica should bear at most."""

    kv_share: float
    prefill_share: float
    backlog_s: float
    ttft_s: float
    num_streams: float


@dataclass(frozen=True, slots=True)
class Trend:
    """Decayed means of late."""

    seen_s: float
    backlog_s: float  # of all replicas together
    ttft_s: float


@dataclass(frozen=True, slots=True)
class Demand:
    """Replicas that bear the load within the objectives, and what calls for the most of them."""

    num_replicas: float
    reason: ScaleReason

    def wish(self, slack: float) -> Wish:
        """Whole replicas, with only such a share of each in use."""
        return Wish(math.ceil(self.num_replicas / slack), self.reason)


@dataclass(frozen=True, slots=True)
class TargetState:
    """What is remembered from one moment to the next."""

    pace: Pace = field(default_factory=Pace)
    trend: Trend | None = None
    growth: Growth = field(default_factory=Growth)  # of the demand, in replicas


@dataclass(frozen=True, slots=True)
class TargetMoment:
    """What is known at a moment."""

    now_s: float
    num_wanted: int  # by the last decision
    loads: Sequence[TargetLoad]  # of the replicas that run and have said so
    floor: int = 0  # by a forecast


@dataclass(frozen=True, slots=True)
class TargetDecision:
    """How many there should be, and what to remember."""

    num_replicas: int
    state: TargetState


@dataclass(frozen=True, slots=True)
class TargetPolicy:
    """Wants as many replicas as bear the whole load within the objectives, and fewer only where some slack is left."""

    objectives: Objectives
    bounds: Bounds
    delays: Delays
    start_s: float = 0.0  # what a replica takes to start

    def decide(self, state: TargetState, moment: TargetMoment) -> TargetDecision:
        """One moment further; to be asked again and again, as often as anything is news."""
        if not moment.loads:  # nothing is known of the load
            wish = more_of(Wish(moment.num_wanted, ScaleReason.QUIET), _floor(moment))
            trend, growth = state.trend, state.growth
        else:
            demand = self._demand(moment)
            trend = _trend(state.trend, moment)
            growth = state.growth.seeing(demand.num_replicas, moment.now_s, self._ahead_s)
            ahead = min(demand.num_replicas + growth.within(self._ahead_s), _MOST_AHEAD * demand.num_replicas)
            wish = self._wish(state.trend, trend, replace(demand, num_replicas=ahead), moment)
        paced = keep_pace(state.pace, moment.num_wanted, wish, moment.now_s, self.bounds, self.delays)
        return TargetDecision(paced.num_replicas, TargetState(paced.pace, trend, growth))

    @property
    def _ahead_s(self) -> float:
        """From wanting one more to having it."""
        return self.delays.up_s + self.start_s

    def _wish(self, before: Trend | None, trend: Trend, demand: Demand, moment: TargetMoment) -> Wish:
        """`demand` is what there will be when one more has come."""
        queue = Wish(math.ceil(_total_backlog_s(moment) / self.objectives.backlog_s), ScaleReason.BACKLOG)
        wish = more_of(demand.wish(1.0), queue, *self._by_lateness(before, moment))
        most = _MOST_GROWTH * len(moment.loads)
        up = more_of(Wish(min(wish.num_replicas, most), wish.reason), _floor(moment))
        if up.num_replicas > moment.num_wanted:
            return up
        return Wish(self._least(trend, demand, moment), ScaleReason.QUIET)

    def _demand(self, moment: TargetMoment) -> Demand:
        """Of what lasts as long as the load does; what waits is no measure of that."""
        loads, objectives = moment.loads, self.objectives
        demands = (
            Demand(sum(load.kv_share for load in loads) / objectives.kv_share, ScaleReason.KV_BLOCKS),
            Demand(sum(load.num_streams for load in loads) / objectives.num_streams, ScaleReason.STREAMS),
            Demand(sum(load.prefill_share for load in loads) / objectives.prefill_share, ScaleReason.PREFILL),
        )
        return max(demands, key=lambda demand: demand.num_replicas)

    def _by_lateness(self, before: Trend | None, moment: TargetMoment) -> list[Wish]:
        """One more than run, while first tokens come later and later."""
        ttft_s = _mean_ttft_s(moment.loads)
        is_rising = before is None or ttft_s > _RISING * before.ttft_s
        is_late = ttft_s > self.objectives.ttft_s
        return [Wish(len(moment.loads) + 1, ScaleReason.FIRST_TOKENS)] if is_late and is_rising else []

    def _least(self, trend: Trend, demand: Demand, moment: TargetMoment) -> int:
        """So many must stay; a single long prompt keeps nobody, late first tokens keep everybody."""
        if _mean_ttft_s(moment.loads) > self.objectives.ttft_s:
            return moment.num_wanted
        queue = math.ceil(trend.backlog_s / self.objectives.backlog_s / SLACK)
        return min(moment.num_wanted, max(demand.wish(SLACK).num_replicas, queue, moment.floor))


def _floor(moment: TargetMoment) -> Wish:
    return Wish(moment.floor, ScaleReason.FORECAST)


def _trend(before: Trend | None, moment: TargetMoment) -> Trend:
    backlog_s, ttft_s = _total_backlog_s(moment), _mean_ttft_s(moment.loads)
    if before is None:
        return Trend(moment.now_s, backlog_s, ttft_s)
    left = math.exp((before.seen_s - moment.now_s) / _MEMORY_S)
    return Trend(
        seen_s=moment.now_s,
        backlog_s=backlog_s + left * (before.backlog_s - backlog_s),
        ttft_s=ttft_s + left * (before.ttft_s - ttft_s),
    )


def _total_backlog_s(moment: TargetMoment) -> float:
    return sum(load.backlog_s for load in moment.loads)


def _mean_ttft_s(loads: Sequence[TargetLoad]) -> float:
    known_s = [load.ttft_s for load in loads if load.ttft_s > 0]
    return sum(known_s) / len(known_s) if known_s else 0.0
