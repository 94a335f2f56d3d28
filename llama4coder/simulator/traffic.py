"""Requests on their way: routed as an ingress routes them, refused, lost with their replica, and sent again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from llama4coder.errors import EngineDead, Llama4CoderError, NotBegun, Overloaded, QueueTimeout, Unavailable
from llama4coder.router.continuation import Continuation
from llama4coder.router.messages import Report
from llama4coder.router.router import Router
from llama4coder.simulator.agenda import Agenda
from llama4coder.simulator.arrivals import Arrival, Part
from llama4coder.simulator.journey import Journey, request_of
from llama4coder.simulator.measures import End, Ended, Measures
from llama4coder.simulator.replica import Replica
from llama4coder.types import GenerateRequest, TokenEvent


@dataclass(frozen=True, slots=True)
class Site:
    """What traffic goes through: the routers of all ingresses, and the replicas that there are by name."""

    routers: Sequence[Router]
    replicas: Mapping[str, Replica]
    context_length: int
    recovery_timeout_s: float


class Traffic:
    """Owns every request from `begin` to its end."""

    def __init__(self, agenda: Agenda, site: Site, measures: Measures, seed: int) -> None:
        self._agenda = agenda
        self._site = site
        self._measures = measures
        self._chance = Random(seed)
        self._journeys: dict[str, Journey] = {}  # by attempt
        self._waiting: dict[int, Journey] = {}  # for another attempt
        self._num_begun = 0
        self.outputs: dict[int, Part] = {}  # of requests that are out, by number
        self.num_tokens = 0  # so far

    @property
    def num_out(self) -> int:
        return len(self._journeys) + len(self._waiting)

    def begin(self, arrival: Arrival) -> None:
        """A client sends a request, to one ingress after the other."""
        self.outputs[arrival.number] = arrival.output
        request = request_of(arrival, self._site.context_length)
        continuation = Continuation(request, self._site.recovery_timeout_s)
        journey = Journey(arrival, self._num_begun % len(self._site.routers), continuation)
        self._num_begun += 1
        self._attempt(journey)

    def receive(self, report: Report) -> None:
        """A report has come to every router."""
        for router in self._site.routers:
            router.receive(report, self._agenda.now_s)

    def publish(self, events: Sequence[TokenEvent]) -> None:
        """Tokens have come from a replica."""
        for event in events:
            self._take(event)

    def reject(self, request_id: str, error: Unavailable) -> None:
        """A replica has let a request wait for too long."""
        self._pause(self._leave(request_id), error)

    def lose(self, replica: str) -> None:
        """It is known now that a replica is gone: its requests go on elsewhere."""
        for attempt_id in [one.attempt_id for one in self._journeys.values() if one.replica == replica]:
            self._go_on(self._leave(attempt_id), EngineDead("the replica was lost"))

    def finish(self) -> None:
        """Nobody waits any longer: what is still out is not finished."""
        for journey in [*self._journeys.values(), *self._waiting.values()]:
            self._end(journey, End.UNFINISHED)
        self._journeys.clear()
        self._waiting.clear()

    def _attempt(self, journey: Journey) -> None:
        self._waiting.pop(journey.arrival.number, None)
        request = journey.next_request()
        route = self._router_of(journey).route(request, journey.avoid, self._agenda.now_s)
        journey.replica = route.replica if route is not None else self._anyone()
        self._journeys[journey.attempt_id] = journey
        replica = None if journey.replica is None else self._site.replicas.get(journey.replica)
        if replica is None:
            self._go_on(self._leave(journey.attempt_id), NotBegun("the replica is gone already"))
            return
        if journey.continuation.deadline_s is not None:
            self._agenda.at(journey.continuation.deadline_s, partial(self._give_up, journey.attempt_id))
        if not replica.is_dead:  # else nobody knows yet; `lose` will tell
            self._submit(journey, replica, request)

    def _submit(self, journey: Journey, replica: Replica, request: GenerateRequest) -> None:
        error = replica.submit(request)
        if isinstance(error, Overloaded):
            self._refuse(self._leave(journey.attempt_id), request, error)
        elif error is not None:
            self._end(self._leave(journey.attempt_id), End.TOO_LONG)

    def _router_of(self, journey: Journey) -> Router:
        return self._site.routers[journey.ingress]

    def _anyone(self) -> str | None:
        """Where nothing is known of any replica, Serve chooses one that it has."""
        names = sorted(self._site.replicas)
        return self._chance.choice(names) if names else None

    def _refuse(self, journey: Journey, request: GenerateRequest, error: Overloaded) -> None:
        """Once a request may try another replica at once, as `cluster.backend` has it."""
        router, replica = self._router_of(journey), journey.replica
        assert replica is not None
        if router.has_room_beside(replica, request, self._agenda.now_s) and journey.continuation.take_detour():
            journey.avoid = frozenset({replica})
            self._attempt(journey)
        else:
            self._pause(journey, error)

    def _go_on(self, journey: Journey, error: Unavailable) -> None:
        """Its replica is gone, or there is none."""
        if journey.replica is not None:
            self._router_of(journey).lost(journey.replica)
            journey.num_lost += 1
            self._measures.num_recoveries += 1
        self._pause(journey, error)

    def _pause(self, journey: Journey, error: Unavailable | Overloaded) -> None:
        """Until the next attempt, if there is to be one."""
        journey.avoid = frozenset({journey.replica} if journey.replica is not None else ())
        try:
            pause_s = journey.continuation.pause_after(error, self._agenda.now_s)
        except Llama4CoderError as final:
            self._end(journey, _end_by(final))
            return
        self._waiting[journey.arrival.number] = journey
        self._agenda.after(pause_s, partial(self._attempt_if_waiting, journey))

    def _give_up(self, attempt_id: str) -> None:
        """The time to go on elsewhere is over."""
        journey = self._journeys.get(attempt_id)
        if journey is None or journey.continuation.deadline_s is None:
            return
        replica = None if journey.replica is None else self._site.replicas.get(journey.replica)
        if replica is not None:
            replica.abort(attempt_id)
        self._pause(self._leave(attempt_id), journey.continuation.expired())

    def _attempt_if_waiting(self, journey: Journey) -> None:
        if journey.arrival.number in self._waiting:
            self._attempt(journey)

    def _leave(self, attempt_id: str) -> Journey:
        journey = self._journeys.pop(attempt_id)
        self._router_of(journey).ended(attempt_id)
        return journey

    def _take(self, event: TokenEvent) -> None:
        journey = self._journeys.get(event.request_id)
        if journey is None:
            return
        now_s, measures, num_tokens = self._agenda.now_s, self._measures, len(event.token_ids)
        if journey.num_output == 0 or journey.continuation.deadline_s is not None:
            self._router_of(journey).begun(event.request_id)
        if journey.first_s is not None and num_tokens and journey.arrival.arrival_s >= measures.warmup_s:
            measures.gaps.add((now_s - journey.last_s) / num_tokens, num_tokens)
        measures.num_drafted += event.num_accepted + event.num_rejected
        measures.num_accepted += event.num_accepted
        self.num_tokens += num_tokens
        journey.take(event, now_s)
        if event.finish_reason is not None:
            self._end(self._leave(event.request_id), End.DONE)

    def _end(self, journey: Journey, end: End) -> None:
        arrival, now_s = journey.arrival, self._agenda.now_s
        del self.outputs[arrival.number]
        first_s = None if journey.first_s is None else journey.first_s - arrival.arrival_s
        self._measures.requests.append(
            Ended(
                kind=arrival.kind,
                end=end,
                arrival_s=arrival.arrival_s,
                first_s=first_s,
                total_s=now_s - arrival.arrival_s,
                num_prompt=arrival.num_prompt_tokens,
                num_cached=journey.num_cached,
                num_output=journey.num_output,
                num_lost=journey.num_lost,
            )
        )


def _end_by(error: Llama4CoderError) -> End:
    match error:
        case Overloaded():
            return End.REFUSED
        case QueueTimeout():
            return End.EXPIRED
        case _:
            return End.ABANDONED
