"""One target replica: the product's engine on a clock of its own, and what it tells routers."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from llama4coder.engine.engine import Engine
from llama4coder.engine.thread import QueueLimits
from llama4coder.errors import Overloaded, RequestError, Unavailable
from llama4coder.kv.name_journal import NameJournal
from llama4coder.obs.stats import EngineObserver
from llama4coder.router.messages import Report
from llama4coder.router.reports import ReportWriter
from llama4coder.router.types import ReplicaLoad
from llama4coder.scaling.meter import LoadMeter
from llama4coder.scaling.targets import TargetLoad
from llama4coder.simulator.agenda import Agenda, EngineClock
from llama4coder.simulator.arrivals import Part
from llama4coder.simulator.plan_loads import PlanLoads
from llama4coder.simulator.ranks import SimulatedRanks
from llama4coder.simulator.served import ServedReplica
from llama4coder.spec.types import Speculation
from llama4coder.types import GenerateRequest, TokenEvent

Publish = Callable[[Sequence[TokenEvent]], None]
Reject = Callable[[str, Unavailable], None]
BuildSpeculation = Callable[[EngineClock], Speculation]


class Replica:
    """Does with requests what `engine.thread` does, one step at a time."""

    def __init__(
        self,
        name: str,
        served: ServedReplica,
        agenda: Agenda,
        outputs: Mapping[int, Part],
        speculation: BuildSpeculation,
        observer: EngineObserver,
    ) -> None:
        self.name = name
        self.is_draining = False
        self.is_dead = False
        self.num_steps = 0
        self._agenda = agenda
        self._clock = EngineClock(agenda.now_s)
        self._journal = NameJournal()
        self._writer = ReportWriter(name)
        engine = served.config.engine
        loads = PlanLoads(engine.block_size)
        self.ranks = SimulatedRanks(served.times, outputs, self._clock, loads, served.block_move_s)
        self._meter = LoadMeter(observer, engine.block_size, engine.kv_shards, lambda: agenda.now_s)
        self._engine = Engine(
            served.config, self.ranks, self._meter, speculation(self._clock), self._journal, self._clock
        )
        self._limits = QueueLimits(engine.max_sequences, engine.max_queued_requests)
        self._inbox: list[GenerateRequest] = []
        self._aborted: list[str] = []
        self._is_stepping = False
        self._reported_steps = -1
        self._reported_s = float("-inf")
        self.publish: Publish = lambda events: None
        self.reject: Reject = lambda request_id, error: None

    @property
    def engine(self) -> Engine:
        return self._engine

    @property
    def num_accepted(self) -> int:
        """Requests that run, wait or have just come."""
        scheduler = self._engine.scheduler
        return scheduler.num_running + scheduler.num_waiting + len(self._inbox)

    def submit(self, request: GenerateRequest) -> RequestError | Overloaded | None:
        """Take a request, or say why not; what has begun elsewhere is not bound by the queue's limit."""
        try:
            self._engine.check_fits(request)
        except RequestError as error:
            return error
        num_waiting = self.num_accepted - self._limits.max_sequences
        if num_waiting >= self._limits.max_queued_requests and not request.output_token_ids:
            return Overloaded("the queue is full", self._engine.retry_after_s(num_waiting))
        self._inbox.append(request)
        self._writer.received(request.request_id)
        if not self._is_stepping:
            self._is_stepping = True
            self._clock.advance_to(self._agenda.now_s)
            self._agenda.at(self._clock.now_s, self._turn)
        return None

    def abort(self, request_id: str) -> None:
        """Drop a request before the next step."""
        self._aborted.append(request_id)

    def has_news(self, quiet_s: float) -> bool:
        """Whether a report is due: something has happened, or the last one is so old."""
        return self.num_steps != self._reported_steps or self._agenda.now_s - self._reported_s > quiet_s

    def report(self) -> Report:
        """How it is now."""
        self._reported_steps, self._reported_s = self.num_steps, self._agenda.now_s
        return self._writer.write(self._load(), self._journal.take())

    def scaling_load(self) -> TargetLoad:
        """See `LoadMeter.load`."""
        num_tokens = sum(len(one.prompt_token_ids) for one in self._inbox)
        return self._meter.load(self._engine.stats(), len(self._inbox), num_tokens)

    def whole(self, report: Report) -> Report:
        """See `ReportWriter.whole`."""
        return self._writer.whole(report)

    def check_integrity(self) -> None:
        """See `Engine.check_integrity`."""
        self._engine.check_integrity()

    def _turn(self) -> None:
        """Take the inbox, make a step, and come again when the engine wants its next turn."""
        if self.is_dead:
            return
        inbox, self._inbox = self._inbox, []
        for request in inbox:
            self._engine.add(request)
        for request_id in self._aborted:
            self._engine.abort(request_id)
        self._aborted.clear()
        for request_id, error in self._engine.expire().items():
            self.reject(request_id, error)
        if not self._engine.has_work:
            self._is_stepping = False
            return
        events = self._engine.step()
        self.num_steps += 1
        if events:
            self._agenda.at(self._clock.now_s, partial(self._tell, events))
        self._engine.await_turn()
        self._agenda.at(self._clock.now_s, self._turn)

    def _tell(self, events: Sequence[TokenEvent]) -> None:
        """What a replica has not sent when it dies, nobody hears of."""
        if not self.is_dead:
            self.publish(events)

    def _load(self) -> ReplicaLoad:
        stats = self._engine.stats()
        num_shards = self._engine.scheduler.pool.num_shards
        num_places = self._limits.max_sequences + self._limits.max_queued_requests - self.num_accepted
        return ReplicaLoad(
            num_running=stats.num_running,
            num_waiting=stats.num_waiting + len(self._inbox),
            num_running_tokens=stats.num_running_tokens,
            num_prefill_tokens=stats.num_prefill_tokens + sum(len(one.prompt_token_ids) for one in self._inbox),
            num_blocks=stats.num_blocks // num_shards,
            num_available_blocks=stats.num_available_blocks,
            num_shards=num_shards,
            num_free_places=max(0, num_places),
            is_draining=self.is_draining or self.is_dead,
        )
