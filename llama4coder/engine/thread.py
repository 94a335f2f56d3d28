"""The engine's own thread: the only one that touches the engine, fed by an inbox, heard through sinks."""

import logging
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from llama4coder.engine.engine import Engine
from llama4coder.errors import EngineDead, Overloaded, QueueTimeout, Unavailable
from llama4coder.faults import log_fault
from llama4coder.obs.stats import EngineStats
from llama4coder.types import GenerateRequest, TokenEvent

_log = logging.getLogger(__name__)


class EventSink(Protocol):
    """Receives the events of the requests that were submitted with it; called in the engine's thread, must not block.

    `publish` is called once per step with all of them. `reject` ends one request that has not begun, instead of any
    event. `fail` is called once when the engine has died, instead of any further event. No event follows an `abort`.
    """

    def publish(self, events: Sequence[TokenEvent]) -> None: ...

    def reject(self, request_id: str, error: QueueTimeout) -> None: ...

    def fail(self, error: Unavailable) -> None: ...


@dataclass(frozen=True, slots=True)
class _Arrival:
    request: GenerateRequest
    sink: EventSink
    urgent: bool


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How many requests may run, and how many more may wait."""

    max_sequences: int
    max_queued_requests: int


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """All that an engine has accepted: what it counted after the last step, and what has come since."""

    stats: EngineStats
    num_arriving: int
    num_arriving_tokens: int
    num_free_places: int  # further requests that would not be refused


class EngineThread:
    """Runs an engine until `stop`; every method may be called from any thread."""

    def __init__(self, engine: Engine, limits: QueueLimits) -> None:
        self._engine = engine
        self._limits = limits
        self._wake = threading.Condition()
        self._arrivals: list[_Arrival] = []
        self._aborts: set[str] = set()
        self._sinks: dict[str, EventSink] = {}  # engine thread only
        self._stopping = False
        self._death: EngineDead | None = None
        self._stats = engine.stats()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Begin to generate."""
        self._refresh_stats()
        self._thread.start()

    def stop(self) -> None:
        """End after the current step, fail what still runs, and close the executor."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def submit(self, request: GenerateRequest, sink: EventSink, *, urgent: bool = False) -> None:
        """Hand over a request.

        Raises:
            ContextTooLong: it could never be held.
            Overloaded: the queue is full; urgent requests are not bound by it, nor are those that have begun elsewhere.
            EngineDead: the engine has failed or stopped.
        """
        with self._wake:
            self.check()
            self._engine.check_fits(request)
            if not urgent and not request.output_token_ids:
                self._check_queue()
            self._arrivals.append(_Arrival(request, sink, urgent))
            self._wake.notify()

    def abort(self, request_id: str) -> None:
        """Drop a request before the next step; idempotent, unknown ids are ignored."""
        with self._wake:
            self._aborts.add(request_id)
            self._wake.notify()

    def check(self) -> None:
        """Raise `EngineDead` if the engine can generate no more."""
        if self._death is not None:
            raise self._death
        if self._stopping:
            raise EngineDead("the engine is stopping")

    def stats(self) -> EngineStats:
        """State after the last step."""
        return self._stats

    def load(self) -> EngineLoad:
        """Every request that `submit` has taken is in it, and none twice."""
        with self._wake:
            num_tokens = sum(len(arrival.request.prompt_token_ids) for arrival in self._arrivals)
            num_places = self._limits.max_sequences + self._limits.max_queued_requests - self._num_accepted
            return EngineLoad(self._stats, len(self._arrivals), num_tokens, max(0, num_places))

    @property
    def _num_accepted(self) -> int:
        return self._stats.num_running + self._stats.num_waiting + len(self._arrivals)

    def _check_queue(self) -> None:
        num_waiting = self._num_accepted - self._limits.max_sequences
        if num_waiting >= self._limits.max_queued_requests:
            retry_after_s = self._engine.retry_after_s(num_waiting)
            message = f"{num_waiting} requests are waiting already; try again in {retry_after_s:.0f} s"
            raise Overloaded(message, retry_after_s)

    def _run(self) -> None:
        try:
            while self._await_turn():
                self._reject_expired()
                events = self._engine.step()
                self._refresh_stats()
                self._publish(events)
                if not self._engine.has_work:
                    self._engine.check_integrity()
        except EngineDead as error:
            self._die(error)
        except Exception as error:  # noqa: BLE001 - a fault in the engine must reach every waiting request
            log_fault(_log, "the engine failed", error)
            self._die(EngineDead(f"the engine failed: {type(error).__name__}"))
        else:
            self._die(EngineDead("the engine has stopped"))
        finally:
            self._engine.close()

    def _await_turn(self) -> bool:
        """The inbox is emptied as late as possible, so that its requests are part of the next step."""
        self._engine.await_turn()
        return self._take_inbox()

    def _take_inbox(self) -> bool:
        """Wait for something to do, and move arrivals and aborts to the engine; False when it is time to stop."""
        with self._wake:
            self._wake.wait_for(self._has_reason_to_wake)
            arrivals, self._arrivals = self._arrivals, []
            aborts, self._aborts = self._aborts, set()
            for arrival in arrivals:
                self._sinks[arrival.request.request_id] = arrival.sink
                self._engine.add(arrival.request, urgent=arrival.urgent)
            for request_id in aborts:
                self._sinks.pop(request_id, None)
                self._engine.abort(request_id)
            self._refresh_stats()
            return not self._stopping

    def _has_reason_to_wake(self) -> bool:
        return bool(self._arrivals or self._aborts or self._stopping or self._engine.has_work)

    def _refresh_stats(self) -> None:
        self._stats = self._engine.stats()
        self._engine.observer.on_state(self._stats)

    def _reject_expired(self) -> None:
        for request_id, error in self._engine.expire().items():
            self._sinks.pop(request_id).reject(request_id, error)

    def _publish(self, events: list[TokenEvent]) -> None:
        by_sink: dict[EventSink, list[TokenEvent]] = defaultdict(list)
        for event in events:
            by_sink[self._sinks[event.request_id]].append(event)
            if event.finish_reason is not None:
                del self._sinks[event.request_id]
        for sink, its_events in by_sink.items():
            sink.publish(its_events)

    def _die(self, error: EngineDead) -> None:
        with self._wake:
            self._death = error
            arrivals, self._arrivals = self._arrivals, []
        sinks = {*self._sinks.values(), *(arrival.sink for arrival in arrivals)}
        self._sinks.clear()
        for sink in sinks:
            sink.fail(error)
