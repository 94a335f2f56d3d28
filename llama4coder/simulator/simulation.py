"""A fleet under load, step by step: what is simulated is the clock, the ranks and the clients."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from random import Random

from llama4coder.config import RoutingPolicy
from llama4coder.obs.pool import NullPoolObserver
from llama4coder.obs.stats import NullObserver
from llama4coder.progress import NullProgress, Progress
from llama4coder.router.build import build_policy
from llama4coder.router.router import Router
from llama4coder.scaling.pool_meter import PoolMeter
from llama4coder.simulator.agenda import Agenda, EngineClock
from llama4coder.simulator.arrivals import Arrival
from llama4coder.simulator.fleet import Fleet, FleetEars, FleetPlan
from llama4coder.simulator.guessing import Acceptance, Guesser, Guessing, SimulatedProposer
from llama4coder.simulator.measures import Measures
from llama4coder.simulator.pool import Pool, PoolPlan
from llama4coder.simulator.pool_guessing import PooledProposer
from llama4coder.simulator.replica import Replica
from llama4coder.simulator.served import ServedReplica
from llama4coder.simulator.timeline import Moment, Timeline
from llama4coder.simulator.traffic import Site, Traffic
from llama4coder.spec.speculator import Speculator
from llama4coder.spec.types import NoSpeculation, Speculation

_VOCABULARY = 2**32
_NUM_MOMENTS = 300


@dataclass(frozen=True, slots=True)
class Guesses:
    """Who guesses, and how well."""

    acceptance: Acceptance
    by: Guesser | PoolPlan


@dataclass(frozen=True, slots=True)
class Scenario:
    """All that a simulation depends on besides its arrivals; the same scenario and arrivals have the same outcome."""

    served: ServedReplica
    fleet: FleetPlan
    policy: RoutingPolicy = "kv_aware"
    num_ingresses: int = 1
    guesses: Guesses | None = None
    seed: int = 0
    warmup_s: float = 0.0
    duration_s: float = 60.0  # of the arrivals: how far apart moments of the timeline are


class Simulation:
    """Runs once."""

    def __init__(self, scenario: Scenario, arrivals: Iterable[Arrival]) -> None:
        self._scenario = scenario
        self._arrivals: Iterator[Arrival] = iter(arrivals)
        self._agenda = Agenda()
        self._seeds = Random(scenario.seed)
        self.measures = Measures(warmup_s=scenario.warmup_s)
        self.timeline = Timeline()
        self._observer = _Counters(self.measures)
        block_size = scenario.served.config.engine.block_size
        self._routers = [Router(build_policy(scenario.policy), block_size) for _ in range(scenario.num_ingresses)]
        self.fleet = Fleet(
            self._agenda, scenario.fleet, scenario.served, self._build, self.measures, self._seeds.getrandbits(32)
        )
        config = scenario.served.config
        site = Site(self._routers, self.fleet.replicas, config.model.context_length, config.server.recovery_timeout_s)
        self.pool = _pool_of(scenario, self._agenda, self.measures)
        self.traffic = Traffic(self._agenda, site, self.measures, self._seeds.getrandbits(32))
        self._num_left = 0  # arrivals that are noted

    @property
    def now_s(self) -> float:
        return self._agenda.now_s

    def run(self, progress: Progress | None = None) -> bool:
        """Serve all arrivals to their end; returns whether it came to that: Ctrl-C ends with what there is by then."""
        told = progress or NullProgress()
        ears = FleetEars(self.traffic.receive, self.traffic.lose, self._keep, lambda: self.traffic.num_out)
        is_whole = True
        try:
            self.fleet.open(ears)
            self._note_next(told.advance)
            self._look()
            while (self._num_left or self.traffic.num_out) and self._agenda.advance():
                pass
        except KeyboardInterrupt:
            is_whole = False
            self.traffic.finish()
        self._look()
        self.fleet.close()
        if self.pool is not None:
            self.pool.close()
        return is_whole

    def settle(self) -> None:
        """Let the last steps end, and assert that no block and no sequence is left over."""
        for _ in itertools.takewhile(lambda _: self._is_busy(), itertools.count()):
            self._agenda.advance()
        for replica in self.fleet.replicas.values():
            if not replica.is_dead:
                replica.check_integrity()

    def _is_busy(self) -> bool:
        return any(one.engine.has_work for one in self.fleet.replicas.values() if not one.is_dead)

    def _note_next(self, advance: Callable[[int], None]) -> None:
        arrival = next(self._arrivals, None)
        self._num_left = 0 if arrival is None else 1
        if arrival is not None:
            at_engine_s = arrival.arrival_s + self._scenario.served.front_s
            self._agenda.at(at_engine_s, lambda: self._arrive(arrival, advance))

    def _arrive(self, arrival: Arrival, advance: Callable[[int], None]) -> None:
        self._note_next(advance)
        advance(1)
        self.traffic.begin(arrival)

    def _keep(self) -> None:
        for router in self._routers:
            router.keep(self.fleet.replicas)

    def _build(self, name: str) -> Replica:
        replica = Replica(
            name, self._scenario.served, self._agenda, self.traffic.outputs, self._speculation, self._observer
        )
        replica.publish, replica.reject = self.traffic.publish, self.traffic.reject
        return replica

    def _speculation(self, clock: EngineClock) -> Speculation:
        guesses = self._scenario.guesses
        if guesses is None:
            return NoSpeculation()
        seed = self._seeds.getrandbits(32)
        guessing = Guessing(guesses.acceptance, self.traffic.outputs, seed)
        most = self._scenario.served.config.speculation.most_draft_tokens
        if isinstance(guesses.by, Guesser):
            proposer = SimulatedProposer(guessing, guesses.by, clock)
            return Speculator(proposer, _VOCABULARY, most, NullObserver())
        assert self.pool is not None, "there is one if guesses come from one"
        meter = PoolMeter(_Unwatched(), guesses.by.rest_s, clock)
        return Speculator(PooledProposer(f"{seed:08x}", guessing, self.pool, meter, clock), _VOCABULARY, most, meter)

    def _look(self) -> None:
        """Keep a moment of the timeline."""
        live = [one for one in self.fleet.replicas.values() if not one.is_dead]
        self.timeline.add(
            Moment(
                time_s=self._agenda.now_s,
                num_live=self.fleet.num_live,
                num_running=sum(one.engine.scheduler.num_running for one in live),
                num_waiting=sum(one.engine.scheduler.num_waiting for one in live),
                num_tokens=self.traffic.num_tokens,
                num_drafting=0 if self.pool is None else self.pool.num_replicas,
            )
        )
        self._agenda.after(self._scenario.duration_s / _NUM_MOMENTS, self._look)


def _pool_of(scenario: Scenario, agenda: Agenda, measures: Measures) -> Pool | None:
    if scenario.guesses is None or isinstance(scenario.guesses.by, Guesser):
        return None
    return Pool(agenda, scenario.guesses.by, measures)


class _Unwatched(NullObserver, NullPoolObserver):
    """What a pool's meter passes on, nobody looks at."""


class _Counters(NullObserver):
    """Counts what only engines know; an `EngineObserver`."""

    def __init__(self, measures: Measures) -> None:
        self._measures = measures

    def on_admitted(
        self, queue_time_s: float, num_prompt_tokens: int, num_cached_tokens: int, num_host_tokens: int
    ) -> None:
        self._measures.num_host_tokens += num_host_tokens

    def on_readmitted(self, num_restored_tokens: int, num_recomputed_tokens: int) -> None:
        self._measures.num_recomputed_tokens += num_recomputed_tokens
