"""A fleet by counts: every request, but not every block, and many steps at once; for thousands of replicas.

Held against `simulation` by a test, which states how far apart they are.
"""

import heapq
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from llama4coder.progress import NullProgress, Progress
from llama4coder.simulator.arrivals import Arrival
from llama4coder.simulator.coarse_cache import CoarseCache, Holders
from llama4coder.simulator.coarse_replica import CoarseReplica, CoarseRequest
from llama4coder.simulator.coarse_router import CoarseRouter, Counts, FleetArrays
from llama4coder.simulator.measures import End, Ended, Measures
from llama4coder.simulator.simulation import Scenario
from llama4coder.simulator.timeline import Moment, Timeline

_NUM_MOMENTS = 300


class CoarseSimulation:
    """Runs once; replicas do not fail, restart or guess."""

    def __init__(self, scenario: Scenario, arrivals: Iterable[Arrival]) -> None:
        self.measures = Measures(warmup_s=scenario.warmup_s)
        self.timeline = Timeline()
        self.now_s = 0.0
        self._arrivals = arrivals
        self._served = scenario.served
        self._moment_s = scenario.duration_s / _NUM_MOMENTS
        num = scenario.fleet.scaling.least
        self._arrays = FleetArrays.of(num)
        self._holders = Holders(num)
        self._caches = [CoarseCache(number, self._holders) for number in range(num)]
        self._replicas = [
            CoarseReplica(number, scenario.served, self._arrays, cache, self.measures)
            for number, cache in enumerate(self._caches)
        ]
        self._router = CoarseRouter(scenario.policy, self._arrays)
        self._due: list[tuple[float, int]] = []
        self._out: dict[int, Arrival] = {}
        self._num_tokens = 0

    def run(self, progress: Progress | None = None) -> bool:
        """See `Simulation.run`."""
        told = progress or NullProgress()
        is_whole = True
        try:
            for arrival in self._arrivals:
                at_engine_s = arrival.arrival_s + self._served.front_s
                self._advance(at_engine_s)
                self._arrive(arrival, at_engine_s)
                told.advance(1)
            self._advance(float("inf"))
        except KeyboardInterrupt:
            is_whole = False
            for arrival in self._out.values():
                self._note(CoarseRequest(arrival, arrival.num_prompt_tokens), End.UNFINISHED)
        self._look(self.now_s)
        self.measures.live_s = len(self._replicas) * self.now_s
        self.measures.gpu_s = self.measures.live_s * self._served.num_gpus
        return is_whole

    def _advance(self, until_s: float) -> None:
        """All that replicas do by then."""
        while self._due and self._due[0][0] <= until_s:
            due_s, number = heapq.heappop(self._due)
            replica = self._replicas[number]
            if replica.due_s != due_s:
                continue  # an arrival has cut its stretch short
            self._look(due_s)
            self.now_s = due_s
            progressed = replica.progress()
            for request in progressed.ended:
                self._note(request, End.DONE)
            for request in progressed.expired:
                self._note(request, End.EXPIRED)
            self._expect(number)

    def _arrive(self, arrival: Arrival, now_s: float) -> None:
        self._look(now_s)
        self.now_s = now_s
        if arrival.num_prompt_tokens + arrival.output.num_tokens > self._served.config.model.context_length:
            self._note(CoarseRequest(arrival, arrival.num_prompt_tokens), End.TOO_LONG)
            return
        cached = self._holders.leading(arrival.prompt)
        number = self._router.choose(arrival.num_prompt_tokens, cached, self._can_take(arrival, cached))
        if self._replicas[number].is_full:
            self._note(CoarseRequest(arrival, arrival.num_prompt_tokens), End.REFUSED)
            return
        self._out[arrival.number] = arrival
        self._replicas[number].add(arrival, self.now_s)
        self._expect(number)

    def _can_take(self, arrival: Arrival, cached: Counts) -> NDArray[np.bool_]:
        """Which replicas have a place and the room for a request, as `router.view` has it."""
        engine, arrays = self._served.config.engine, self._arrays
        num_needed = arrival.num_prompt_tokens + 1 - cached
        has_room = num_needed <= self._served.num_block_tokens - arrays.num_promised_tokens
        return has_room & (arrays.num_sequences < engine.max_sequences + engine.max_queued_requests)

    def _expect(self, number: int) -> None:
        due_s = self._replicas[number].due_s
        if due_s < float("inf"):
            heapq.heappush(self._due, (due_s, number))

    def _note(self, request: CoarseRequest, end: End) -> None:
        arrival = request.arrival
        self._out.pop(arrival.number, None)
        num_output = arrival.output.num_tokens if end is End.DONE else 0
        self._num_tokens += num_output
        self.measures.requests.append(
            Ended(
                kind=arrival.kind,
                end=end,
                arrival_s=arrival.arrival_s,
                first_s=None if request.first_s is None else request.first_s - arrival.arrival_s,
                total_s=self.now_s - arrival.arrival_s,
                num_prompt=request.num_prompt,
                num_cached=request.num_cached,
                num_output=num_output,
                num_lost=0,
            )
        )

    def _look(self, now_s: float) -> None:
        """Keep a moment of the timeline, if it is time for one."""
        moments = self.timeline.moments
        if moments and now_s - moments[-1].time_s < self._moment_s:
            return
        most = self._served.config.engine.max_sequences
        running = int(np.minimum(self._arrays.num_sequences, most).sum())
        waiting = int(self._arrays.num_sequences.sum()) - running
        self.timeline.add(Moment(now_s, len(self._replicas), running, waiting, self._num_tokens))
