"""The replicas that there are: started, reporting, failing, restarted one after the other, and more or fewer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random

from llama4coder.router.messages import Report
from llama4coder.router.router import REPORT_PERIOD_S
from llama4coder.simulator.agenda import Agenda
from llama4coder.simulator.measures import Measures
from llama4coder.simulator.mishaps import Failures, RollingRestart, Starting
from llama4coder.simulator.replica import Replica
from llama4coder.simulator.scaling import FleetState, ScalingPolicy
from llama4coder.simulator.served import ServedReplica

_TICK_S = 0.05  # a report when something has happened, as `cluster.reporter` has it
_REPORT_DELAY_S = 0.02  # from a replica to the routers
_DRAIN_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """How many replicas there are to be, and what happens to them."""

    scaling: ScalingPolicy
    starting: Starting = field(default_factory=Starting)
    failures: Failures | None = None
    restart: RollingRestart | None = None


@dataclass(frozen=True, slots=True)
class FleetEars:
    """Who is told of what happens to replicas."""

    report: Callable[[Report], None]
    lose: Callable[[str], None]
    keep: Callable[[], None]  # the replicas that there are have changed
    num_requests: Callable[[], int]


class Fleet:
    """Owns all replicas, by name; a replica that starts anew has another name."""

    def __init__(
        self,
        agenda: Agenda,
        plan: FleetPlan,
        served: ServedReplica,
        build: Callable[[str], Replica],
        measures: Measures,
        seed: int,
    ) -> None:
        self.replicas: dict[str, Replica] = {}
        self._agenda = agenda
        self._plan = plan
        self._scaling = plan.scaling.begin()
        self._served = served
        self._build = build
        self._measures = measures
        self._chance = Random(seed)
        self._ears: FleetEars | None = None
        self._num_started = 0
        self._num_starting = 0
        self._num_leaving = 0  # draining replicas that nobody takes the place of
        self._since_s = 0.0
        self._old: list[str] = []  # still to be restarted

    @property
    def num_live(self) -> int:
        """Replicas that take requests."""
        return sum(not replica.is_dead and not replica.is_draining for replica in self.replicas.values())

    def open(self, ears: FleetEars) -> None:
        """Have the first replicas ready, and whatever is to happen noted."""
        self._ears = ears
        for _ in range(self._plan.scaling.least):
            self._ready(is_new=True)
        self._agenda.after(self._scaling.period_s, self._scale)
        if self._plan.restart is not None:
            self._agenda.at(self._plan.restart.start_s, self._begin_restart)

    def close(self) -> None:
        """Book what the replicas have come to."""
        self._book()
        for replica in self.replicas.values():
            self._count(replica)

    def _ready(self, *, is_new: bool) -> None:
        """A replica takes requests from now on."""
        self._book()
        self._num_starting -= not is_new
        self._num_started += 1
        replica = self._build(f"r{self._num_started:05d}")
        self.replicas[replica.name] = replica
        self._send_report(replica)
        self._agenda.after(self._chance.uniform(0, _TICK_S), partial(self._tick, replica))
        if self._plan.failures is not None:
            mtbf_s = self._plan.failures.gpu_mtbf_s / self._served.num_gpus
            self._agenda.after(self._chance.expovariate(1 / mtbf_s), partial(self._fail, replica))

    def _start(self, delay_s: float) -> None:
        self._book()
        self._num_starting += 1
        self._agenda.after(delay_s + self._reload_s, partial(self._ready, is_new=False))

    @property
    def _reload_s(self) -> float:
        return self._plan.starting.reload_s(self._served.weight_bytes)

    def _tick(self, replica: Replica) -> None:
        if replica.is_dead or replica.name not in self.replicas:
            return
        if replica.has_news(REPORT_PERIOD_S - _TICK_S):
            self._send_report(replica)
        self._agenda.after(_TICK_S, partial(self._tick, replica))

    def _send_report(self, replica: Replica) -> None:
        assert self._ears is not None
        report = replica.report()
        self._measures.num_reports += 1
        self._measures.report_bytes += len(report.names.added) + len(report.names.removed)
        delay_s = _REPORT_DELAY_S if self._agenda.now_s else 0.0
        self._agenda.after(delay_s, partial(self._ears.report, report))

    def _fail(self, replica: Replica) -> None:
        """It is gone at once, and known to be gone a little later."""
        if replica.name not in self.replicas:
            return
        assert self._plan.failures is not None
        replica.is_dead = True
        self._measures.num_failures += 1
        self._agenda.after(self._plan.failures.detection_s, partial(self._bury, replica))

    def _bury(self, replica: Replica) -> None:
        self._remove(replica)
        if replica.is_draining and replica.name not in self._old:
            self._num_leaving -= 1
        else:
            self._start(0.0)
        self._restart_next(replica.name)

    def _remove(self, replica: Replica) -> None:
        assert self._ears is not None
        self._book()
        self._count(replica)
        replica.engine.close()
        del self.replicas[replica.name]
        self._ears.lose(replica.name)
        self._ears.keep()

    def _begin_restart(self) -> None:
        assert self._plan.restart is not None
        self._old = list(self.replicas)
        for name in self._old[: self._plan.restart.num_at_once]:
            self._drain(self.replicas[name])

    def _restart_next(self, done: str) -> None:
        """The next of a rolling restart, when one is ready again."""
        if done not in self._old:
            return
        self._old.remove(done)
        waiting = [name for name in self._old if name in self.replicas and not self.replicas[name].is_draining]
        if waiting:
            self._agenda.after(self._reload_s, partial(self._drain_if_there, waiting[0]))

    def _drain_if_there(self, name: str) -> None:
        replica = self.replicas.get(name)
        if replica is None or replica.is_draining:
            self._restart_next(name)
        else:
            self._drain(replica)

    def _drain(self, replica: Replica) -> None:
        """It takes no more, and is gone when it has nothing left."""
        replica.is_draining = True
        self._send_report(replica)
        self._agenda.after(_DRAIN_POLL_S, partial(self._leave_if_idle, replica))

    def _leave_if_idle(self, replica: Replica) -> None:
        if replica.name not in self.replicas or replica.is_dead:
            return
        if replica.num_accepted:
            self._agenda.after(_DRAIN_POLL_S, partial(self._leave_if_idle, replica))
            return
        replica.is_dead = True
        self._remove(replica)
        if replica.name in self._old:
            self._measures.num_restarts += 1
            self._start(0.0)
            self._restart_next(replica.name)
        else:
            self._num_leaving -= 1

    def _state(self) -> FleetState:
        num_requests = self._ears.num_requests() if self._ears is not None else 0
        takers = [one for one in self.replicas.values() if not one.is_dead and not one.is_draining]
        return FleetState(self._agenda.now_s, self._num_there, num_requests, [one.scaling_load() for one in takers])

    @property
    def _num_there(self) -> int:
        """Those that start included, and those that are to go left out."""
        return len(self.replicas) - self._num_leaving + self._num_starting

    def _scale(self) -> None:
        self._agenda.after(self._scaling.period_s, self._scale)
        wanted = self._scaling.wanted(self._state())
        there = self._num_there
        for _ in range(wanted - there):
            self._start(self._plan.starting.provision_s)
        staying = [one for one in self.replicas.values() if not one.is_dead and not one.is_draining]
        for replica in staying[max(0, len(staying) - max(0, there - wanted)) :]:
            self._num_leaving += 1
            self._drain(replica)

    def _book(self) -> None:
        """GPUs are paid for while a replica starts, runs, and lies dead."""
        now_s = self._agenda.now_s
        num = len(self.replicas) + self._num_starting
        self._measures.gpu_s += (now_s - self._since_s) * num * self._served.num_gpus
        self._measures.live_s += (now_s - self._since_s) * self.num_live
        self._since_s = now_s

    def _count(self, replica: Replica) -> None:
        self._measures.num_preemptions += replica.engine.scheduler.num_preemptions
        self._measures.steps += replica.num_steps
        self._measures.busy_s += replica.ranks.busy_s
