"""The replicas of a draft pool: as many as the product's policy wants, and how fast they draft for all targets."""

from collections.abc import Callable
from dataclasses import dataclass, field

from llama4coder.scaling.draft_meter import DraftMeter
from llama4coder.scaling.drafts import DraftLoad, DraftMoment, DraftPolicy, DraftState
from llama4coder.scaling.pool_meter import PoolMeter
from llama4coder.simulator.agenda import Agenda
from llama4coder.simulator.guessing import DraftTimes
from llama4coder.simulator.measures import Measures
from llama4coder.simulator.mishaps import Starting

_PERIOD_S = 1.0  # of what replicas say, and targets ask


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """How many draft replicas there are to be, and what they are like; each has one GPU."""

    times: DraftTimes
    policy: DraftPolicy
    rest_s: float  # of a target that saw the pool go because it was of no use
    starting: Starting = field(default_factory=Starting)
    weight_bytes: int = 0
    delay_s: float = 0.0  # of messages to a replica and back


class Pool:
    """Owns the draft replicas, among which the sequences of all targets are spread evenly, at once."""

    def __init__(self, agenda: Agenda, plan: PoolPlan, measures: Measures) -> None:
        self.num_replicas = plan.policy.bounds.least  # that draft
        self.plan = plan
        self._num_wanted = self.num_replicas
        self._agenda = agenda
        self._measures = measures
        self._state = DraftState()
        self._meter = DraftMeter(agenda.now_s)  # they are all alike
        self._busy_s = 0.0  # of each
        self._targets: dict[str, Target] = {}
        self._num_starting = 0
        self._since_s = agenda.now_s
        agenda.after(_PERIOD_S, self._scale)

    @property
    def num_sessions(self) -> int:
        """Sequences that are drafted."""
        return sum(target.num_sessions() for target in self._targets.values())

    @property
    def token_s(self) -> float:
        """Of one more guess for each sequence of the fullest replica; there is one."""
        return self.plan.times.token_s(-(-self.num_sessions // self.num_replicas))

    def join(self, name: str, target: "Target") -> None:
        """A target begins to ask for drafts."""
        self._targets[name] = target
        target.meter.on_pool_replicas(self.num_replicas)

    def leave(self, name: str) -> None:
        """A target is gone; idempotent."""
        self._targets.pop(name, None)

    def spend(self, time_s: float) -> None:
        """So long it took to draft for one sequence in a round that all of its replica's sequences share."""
        self._busy_s += time_s / max(1, self.num_sessions)

    def close(self) -> None:
        """Book what the replicas have come to."""
        self._book()

    def _loads(self) -> list[DraftLoad]:
        num, sessions = self.num_replicas, self.num_sessions
        if not num:
            return []
        said = self._meter.load(self._busy_s, 1, self._agenda.now_s)
        return [
            DraftLoad(said.busy_share, (sessions + place) // num, said.late_share, said.gain) for place in range(num)
        ]

    def _scale(self) -> None:
        self._agenda.after(_PERIOD_S, self._scale)
        for name, target in self._targets.items():
            if self.num_replicas:
                self._meter.hear(target.meter.use(name), self._agenda.now_s)
        is_called = not self.num_replicas and any(target.calls() for target in self._targets.values())
        moment = DraftMoment(self._agenda.now_s, self._num_wanted, self._loads(), is_called)
        decision = self.plan.policy.decide(self._state, moment)
        self._state = decision.state
        self._want(max(decision.num_replicas, min(1, self._num_wanted - 1)))  # Serve goes to none from one only

    def _want(self, num_replicas: int) -> None:
        starting = self.plan.starting
        for _ in range(num_replicas - self._num_wanted):
            self._book()
            self._num_starting += 1
            self._agenda.after(starting.provision_s + starting.reload_s(self.plan.weight_bytes), self._ready)
        self._num_wanted = num_replicas
        self._set(min(self.num_replicas, num_replicas))

    def _ready(self) -> None:
        """One has started; if it is no longer wanted, it goes at once."""
        self._book()
        self._num_starting -= 1
        self._set(min(self.num_replicas + 1, self._num_wanted))

    def _set(self, num_replicas: int) -> None:
        if num_replicas == self.num_replicas:
            return
        self._book()
        self.num_replicas = num_replicas
        for target in self._targets.values():
            target.meter.on_pool_replicas(num_replicas)

    def _book(self) -> None:
        """GPUs are paid for while a replica starts and runs."""
        now_s = self._agenda.now_s
        self._measures.draft_gpu_s += (now_s - self._since_s) * (self.num_replicas + self._num_starting)
        self._since_s = now_s


@dataclass(frozen=True, slots=True)
class Target:
    """Who asks a pool for drafts."""

    meter: PoolMeter
    num_sessions: Callable[[], int]

    def calls(self) -> bool:
        """Whether it wants a replica where there is none."""
        return self.num_sessions() > 0 and not self.meter.is_resting
