"""The mean replica of a fleet: what comes to it, what it gets done, and what waits meanwhile.

With l requests/s of n tokens to be computed and d to be generated each, r rows and T(r, g) the time of a step with g
tokens of prompts (`planner.steady` has the same steps, standing still):

    served  = min(l + waiting / dt, room / n / T(r, room), most rows / (d ITL))
    busy    = served n / g * T(r, g)                    share of the time in steps with prompts
    ITL     = 1 / (busy / T(r, g) + (1 - busy) / T(r, 0))
    r      -> served d ITL                              within the time that an output has left
    waiting grows by l - served, as far as queues and patience go

What chance adds to waiting is that of a queue with general service times, of which a request may choose the shortest as
far as it is not bound to where its prefix is.
"""

import math
from dataclasses import dataclass

import numpy as np

from llama4coder.simulator.fluid_demand import Floats, FluidDemand
from llama4coder.simulator.fluid_steps import MeanSteps
from llama4coder.simulator.served import ServedReplica

_ROUNDS = 4  # of the fixed point of g
_MOST_LOAD = 0.99  # from which waiting by chance is not computed any further


@dataclass(frozen=True, slots=True)
class FluidFlow:
    """A moment of a mean replica; rates are per second."""

    arriving: float
    served: float
    refused: float
    expired: float
    hit_rate: float
    rows: float
    waiting: float
    itl_s: float
    load: float  # of what it could prefill
    busy: float  # share of the time with a step running
    first_s: Floats  # to the first token, of each drawn request
    wait_s: float  # of that, what chance adds


@dataclass(frozen=True, slots=True)
class _Prefilling:
    chunk: float  # tokens of prompts in a step that has any
    busy: float  # share of the time in such steps


@dataclass(frozen=True, slots=True)
class _Lost:
    """Requests per second."""

    refused: float
    expired: float


class FluidReplica:
    """Goes forward in time, from a cold start."""

    def __init__(self, served: ServedReplica, demand: FluidDemand, num_replicas: int) -> None:
        self._engine = served.config.engine
        self._times = served.times
        self._capacity = served.num_block_tokens
        self._demand = demand
        self._num_replicas = num_replicas
        self._arriving = demand.rate_per_s / num_replicas
        self._decoded = float(np.mean(demand.num_output - 1))
        weights = demand.num_output / np.sum(demand.num_output)
        self._row_context = float(np.sum(weights * (demand.num_prompt + demand.num_output / 2)))
        self._left = float(np.sum(weights * demand.num_output)) / 2  # tokens, of a row
        held = float(np.mean(demand.num_prompt + demand.num_output))
        self._most_rows = min(self._engine.max_sequences, self._capacity / max(held, self._row_context))
        self._rows = 0.0
        self._waiting = 0.0
        self._itl_s = 0.0
        self._backlog = 0.0  # tokens of prompts

    def advance(self, now_s: float, span_s: float) -> FluidFlow:
        """Over a span of time that begins now."""
        new = self._demand.new_tokens(self._age_s(now_s), self._backlog, self._num_replicas)
        steps = self._steps(new)
        mean_new, room = float(np.mean(new)), steps.room(self._rows)
        most_prefilled = room / steps.step_s(self._rows, room) / mean_new
        served = min(self._arriving + self._waiting / span_s, most_prefilled, self._most_generated())
        prefilling = self._prefilling(steps, new, served)
        chunk, busy = prefilling.chunk, prefilling.busy
        mixed_s, plain_s = steps.step_s(self._rows + 1, chunk), steps.step_s(self._rows + 1, 0.0)
        self._itl_s = 1 / (busy / mixed_s + (1 - busy) / plain_s)
        self._generate(served, span_s)
        lost = self._wait(served, span_s)
        load = self._arriving / most_prefilled
        wait_s = self._chance_s(new, steps, load, now_s)
        self._backlog = self._waiting * mean_new + wait_s * most_prefilled * mean_new
        running_s = 0.5 * (busy * mixed_s + (1 - busy) * (1 - math.exp(-self._rows)) * plain_s)
        own_s = np.ceil(new / room) * steps.step_s(self._rows, 1.0) + new * steps.token_s(self._rows)
        return FluidFlow(
            arriving=self._arriving,
            served=served,
            refused=lost.refused,
            expired=lost.expired,
            hit_rate=1 - float(np.sum(new) / np.sum(self._demand.num_prompt)),
            rows=self._rows,
            waiting=self._waiting,
            itl_s=self._itl_s,
            load=load,
            busy=1 - (1 - busy) * math.exp(-self._rows),
            first_s=own_s + self._waiting / served + running_s,
            wait_s=wait_s,
        )

    def _age_s(self, now_s: float) -> float:
        """How old what is cached may be."""
        if not self._engine.prefix_caching:
            return 0.0
        free = max(0.0, self._capacity - self._rows * self._left)
        return min(now_s, self._demand.age_held_s(self._arriving, free))

    def _steps(self, new: Floats) -> MeanSteps:
        keys = float(np.sum(new * (self._demand.num_prompt - new / 2)) / np.sum(new))
        return MeanSteps(self._times, self._engine.max_step_tokens, self._row_context, keys, float(np.mean(new)))

    def _most_generated(self) -> float:
        """Requests that places for generating sequences suffice for."""
        return self._most_rows / (self._decoded * self._itl_s) if self._decoded * self._itl_s else math.inf

    def _prefilling(self, steps: MeanSteps, new: Floats, served: float) -> _Prefilling:
        room = steps.room(self._rows)
        tokens_per_s = served * float(np.mean(new))
        chunk = float(np.mean(new) / np.mean(np.ceil(new / room)))
        for _ in range(_ROUNDS):
            chunk = min(room, max(chunk, tokens_per_s * steps.step_s(self._rows, chunk)))
        return _Prefilling(chunk, min(1.0, tokens_per_s / chunk * steps.step_s(self._rows, chunk)))

    def _generate(self, served: float, span_s: float) -> None:
        wanted = min(self._most_rows, served * self._decoded * self._itl_s)
        self._rows = wanted + (self._rows - wanted) * math.exp(-span_s / (self._left * self._itl_s))

    def _wait(self, served: float, span_s: float) -> _Lost:
        """What is left over waits, until the queue is full or patience at its end."""
        waiting = max(0.0, self._waiting + (self._arriving - served) * span_s)
        within_patience = min(waiting, served * self._engine.queue_timeout_s)
        self._waiting = min(within_patience, self._engine.max_queued_requests)
        return _Lost((within_patience - self._waiting) / span_s, (waiting - within_patience) / span_s)

    def _chance_s(self, new: Floats, steps: MeanSteps, load: float, now_s: float) -> float:
        """Sakasegawa's G/G/c, of one replica or of all; no more than chance can have piled up since the beginning."""
        room = steps.room(self._rows)
        prompt_s = float(np.mean(new)) * steps.step_s(self._rows, room) / room
        variation = float(np.mean(new**2) / np.mean(new) ** 2)  # 1 + the squared coefficient
        calm = min(load, _MOST_LOAD)
        alone_s = calm / (1 - calm) * variation / 2 * prompt_s
        most_calm = math.pow(calm, math.sqrt(2 * (self._num_replicas + 1)) - 1)
        shared_s = most_calm / (self._num_replicas * (1 - calm)) * variation / 2 * prompt_s
        bound = 1 - float(np.sum(new) / np.sum(self._demand.num_prompt))
        most_s = math.sqrt(2 / math.pi * self._arriving * variation * prompt_s**2 * now_s)
        return min(most_s, bound * alone_s + (1 - bound) * shared_s)
