"""A replica by counts: prefills step by step, and all steps at once between which nothing happens.

What it leaves out of the engine: blocks one by one, preemption, host memory, guesses, and that steps are planned ahead.
"""

import heapq
import math
from collections import deque
from dataclasses import dataclass, field

from llama4coder.engine.output_lengths import OutputLengths
from llama4coder.planner.step_load import StepLoad
from llama4coder.simulator.arrivals import Arrival, Part
from llama4coder.simulator.coarse_cache import CoarseCache
from llama4coder.simulator.coarse_router import FleetArrays
from llama4coder.simulator.measures import Measures
from llama4coder.simulator.served import ServedReplica

_LOOK_STEPS = 512  # at once, at most: sequences grow meanwhile


@dataclass(slots=True, eq=False)
class CoarseRequest:
    """One request at a replica."""

    arrival: Arrival
    num_prompt: int
    num_uncached: int = 0  # of the prompt, as it was when it came
    num_cached: int = 0
    num_done: int = 0  # of the prompt
    num_expected: int = 0  # tokens of output that room is kept for
    first_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Equal steps, one after the other."""

    start_s: float
    step_s: float
    num_steps: int
    num_prefill: int  # tokens in each; then there is one step

    @property
    def end_s(self) -> float:
        return self.start_s + self.num_steps * self.step_s


@dataclass(frozen=True, slots=True)
class Progressed:
    """What a stretch has come to."""

    ended: list[CoarseRequest] = field(default_factory=list)
    expired: list[CoarseRequest] = field(default_factory=list)


class CoarseReplica:
    """Is told of arrivals and of the ends of its stretches; `due_s` is the next of these."""

    def __init__(
        self, number: int, served: ServedReplica, arrays: FleetArrays, cache: CoarseCache, measures: Measures
    ) -> None:
        self._number = number
        self._times = served.times
        self._engine = served.config.engine
        self._capacity = served.num_block_tokens
        self._arrays = arrays
        self._cache = cache
        self._measures = measures
        self._lengths = OutputLengths()
        self._waiting: deque[CoarseRequest] = deque()
        self._prefilling: deque[CoarseRequest] = deque()
        self._decoding: list[tuple[int, int, CoarseRequest]] = []  # by the step in which they end
        self._num_steps = 0
        self._num_read = 0  # tokens that the generating sequences read
        self._num_kept = 0  # tokens that the cache leaves to what admitted requests have still to compute
        self._stretch: _Stretch | None = None

    @property
    def due_s(self) -> float:
        return math.inf if self._stretch is None else self._stretch.end_s

    @property
    def is_full(self) -> bool:
        """Whether its queue takes no more."""
        most = self._engine.max_sequences + self._engine.max_queued_requests
        return bool(self._arrays.num_sequences[self._number] >= most)

    def add(self, arrival: Arrival, now_s: float) -> None:
        """A request has come: it joins when the running step is over."""
        num_prompt = arrival.num_prompt_tokens
        request = CoarseRequest(arrival, num_prompt, num_prompt - self._cache.leading(arrival.prompt))
        self._waiting.append(request)
        self._arrays.num_sequences[self._number] += 1
        self._arrays.num_prefill_tokens[self._number] += request.num_uncached
        self._cache.announce(arrival.prompt)
        if self._stretch is None:
            self._begin(now_s)
        elif self._stretch.num_steps > 1:
            stretch = self._stretch
            num_steps = max(1, math.ceil((now_s - stretch.start_s) / stretch.step_s))
            self._stretch = _Stretch(stretch.start_s, stretch.step_s, min(num_steps, stretch.num_steps), 0)

    def progress(self) -> Progressed:
        """The stretch is over."""
        stretch = self._stretch
        assert stretch is not None
        progressed = Progressed()
        num_decoding = len(self._decoding)
        self._num_steps += stretch.num_steps
        self._num_read += stretch.num_steps * num_decoding
        self._measures.busy_s += stretch.num_steps * stretch.step_s
        self._measures.steps += stretch.num_steps
        if num_decoding:
            self._measures.gaps.add(stretch.step_s, stretch.num_steps * num_decoding)
        while self._decoding and self._decoding[0][0] <= self._num_steps:
            self._end(heapq.heappop(self._decoding)[2], progressed)
        self._prefill(stretch, progressed)
        self._expire(stretch.end_s, progressed)
        self._begin(stretch.end_s)
        return progressed

    def _begin(self, now_s: float) -> None:
        """The next stretch, if there is anything to do."""
        num_rows = len(self._decoding)
        room = max(0, self._engine.max_step_tokens - num_rows)
        self._admit(room)
        load = StepLoad.decoding(num_rows, self._num_read + num_rows)
        num_prefill = 0
        for request in self._prefilling:
            num_tokens = min(room - num_prefill, request.num_prompt - request.num_done)
            if num_tokens <= 0:
                break
            load += StepLoad.prefill(num_tokens, request.num_done)
            num_prefill += num_tokens
        num_steps = 1
        if not num_prefill and num_rows:
            num_steps = min(self._decoding[0][0] - self._num_steps, _LOOK_STEPS)
            load = StepLoad.decoding(num_rows, self._num_read + num_rows * (num_steps + 1) // 2)
        if not load.num_tokens:
            self._stretch = None
            return
        self._stretch = _Stretch(now_s, self._times.step(load).total_s, num_steps, num_prefill)

    def _admit(self, room: int) -> None:
        """In the order of the queue, as long as the step has room beside the prefills that run.

        Who would compute what one of these is about to cache waits for it.
        """
        num_left = room - sum(request.num_prompt - request.num_done for request in self._prefilling)
        if num_left <= 0 or not self._waiting:
            return
        pending = {part.token_id for request in self._prefilling for part in request.arrival.prompt}
        for request in list(self._waiting):
            if num_left <= 0 or len(self._decoding) + len(self._prefilling) >= self._engine.max_sequences:
                return
            missing = self._cache.missing(request.arrival.prompt) if self._engine.prefix_caching else None
            if missing is not None and missing.token_id in pending:
                continue
            if not self._start(request):
                return
            num_left -= request.num_prompt - request.num_done
            pending.update(part.token_id for part in request.arrival.prompt)

    def _start(self, request: CoarseRequest) -> bool:
        """Whether there was room for it."""
        cached = self._cache.leading(request.arrival.prompt) if self._engine.prefix_caching else 0
        num_new, num_expected = request.num_prompt - cached, self._lengths.expected(0)
        is_idle = not self._decoding and not self._prefilling
        promised = self._arrays.num_promised_tokens
        if promised[self._number] + num_new + num_expected > self._capacity and not is_idle:
            return False
        self._waiting.remove(request)
        request.num_cached = request.num_done = cached
        request.num_expected = num_expected
        promised[self._number] += num_new + num_expected
        self._num_kept += num_new + num_expected
        self._arrays.num_prefill_tokens[self._number] += num_new - request.num_uncached
        self._prefilling.append(request)
        return True

    def _prefill(self, stretch: _Stretch, progressed: Progressed) -> None:
        left = stretch.num_prefill
        while left and self._prefilling:
            request = self._prefilling[0]
            num_tokens = min(left, request.num_prompt - request.num_done)
            request.num_done += num_tokens
            left -= num_tokens
            self._arrays.num_prefill_tokens[self._number] -= num_tokens
            if request.num_done < request.num_prompt:
                return
            self._prefilling.popleft()
            self._generate(request, stretch.end_s, progressed)

    def _generate(self, request: CoarseRequest, now_s: float, progressed: Progressed) -> None:
        """Its first token is there."""
        request.first_s = now_s
        self._num_kept -= request.num_prompt - request.num_cached  # they are cached now
        if self._engine.prefix_caching:
            self._cache.use(request.arrival.prompt)
        num_left = request.arrival.output.num_tokens - 1
        self._num_read += request.num_prompt
        self._arrays.num_running_tokens[self._number] += request.num_prompt
        heapq.heappush(self._decoding, (self._num_steps + num_left, request.arrival.number, request))
        if not num_left:
            self._end(heapq.heappop(self._decoding)[2], progressed)

    def _end(self, request: CoarseRequest, progressed: Progressed) -> None:
        output = request.arrival.output
        self._num_read -= request.num_prompt + output.num_tokens - 1
        num_promised = request.num_prompt - request.num_cached + request.num_expected
        self._arrays.num_promised_tokens[self._number] -= num_promised
        self._num_kept -= request.num_expected
        self._lengths.observe(output.num_tokens, is_cut=False)
        self._arrays.num_sequences[self._number] -= 1
        self._arrays.num_running_tokens[self._number] -= request.num_prompt
        if self._engine.prefix_caching:
            self._cache.use((*request.arrival.prompt, Part(output.token_id, max(1, output.num_tokens - 1))))
            self._cache.shrink(max(0, self._capacity - self._num_kept))
        progressed.ended.append(request)

    def _expire(self, now_s: float, progressed: Progressed) -> None:
        while self._waiting and now_s - self._waiting[0].arrival.arrival_s > self._engine.queue_timeout_s:
            request = self._waiting.popleft()
            self._arrays.num_sequences[self._number] -= 1
            self._arrays.num_prefill_tokens[self._number] -= request.num_uncached
            progressed.expired.append(request)
