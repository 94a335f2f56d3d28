"""The mean replica of a fleet: what comes to it, what it gets done, and what waits meanwhile.

With l requests/s of n tokens to be computed and d to be generated each, r rows and T(r, g) the time of a step with g
tokens of prompts (`planner.steady` has the same steps, standing still):

    served  = min(l + waiting / dt, room / n / T(r, room), what places for rows suffice for)
    busy    = served n / g * T(r, g)                    share of the time in steps with prompts
    ITL     = 1 / (busy / T(r, g) + (1 - busy) / T(r, 0))
    r      -> served d ITL                              within the time that an output has left
    waiting grows by l - served, as far as queues and patience go; where that makes prefixes be lost, n grows

What chance adds to waiting, where it is more than load does, is that of a queue with general service times, of which a
request may choose the shortest as far as it is not bound to where its prefix is.
"""

import math
from dataclasses import dataclass

import numpy as np

from llama4coder.simulator.fluid_demand import Floats, FluidDemand, Standing
from llama4coder.simulator.fluid_queue import FluidQueue
from llama4coder.simulator.fluid_rows import FluidRows
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
    queue_s: float  # that those served have waited, beside what chance adds
    itl_s: float
    load: float  # of what it could prefill
    busy: float  # share of the time with a step running
    first_s: Floats  # to the first token, of each drawn request
    wait_s: float  # beside that, what chance adds

    @property
    def output_per_s(self) -> float:
        """First tokens, and those of its rows."""
        return self.served + self.rows / self.itl_s


@dataclass(frozen=True, slots=True)
class _Prefilling:
    chunk: float  # tokens of prompts in a step that has any
    busy: float  # share of the time in such steps


class FluidReplica:
    """Goes forward in time, from a cold start."""

    def __init__(self, served: ServedReplica, demand: FluidDemand, num_replicas: int) -> None:
        self._engine = served.config.engine
        self._times = served.times
        self._capacity = served.num_block_tokens
        self._demand = demand
        self._num_replicas = num_replicas
        weights = demand.num_output / np.sum(demand.num_output)
        self._row_context = float(np.sum(weights * (demand.num_prompt + demand.num_output / 2)))
        self._left = float(np.sum(weights * demand.num_output)) / 2  # tokens, of a row
        held = float(np.mean(demand.num_prompt + demand.num_output))
        self._most_rows = min(self._engine.max_sequences, self._capacity / max(held, self._row_context))
        self._queue = FluidQueue(self._engine.queue_timeout_s)
        self._generating = FluidRows(demand.num_output)
        self._itl_s = 0.0
        self._standing = Standing()
        self._bound = 1.0  # share of requests that come to where their content is

    def advance(self, now_s: float, span_s: float, share: float) -> FluidFlow:
        """Over a span of time that begins now, with a share of the peak's requests."""
        arriving, rows = share * self._demand.rate_per_s / self._num_replicas, self._generating.total
        found = self._demand.new_tokens(self._age_s(now_s, share), share, self._standing, self._num_replicas)
        new, self._bound = found.of_each, found.bound
        steps = self._steps(new)
        mean_new, room = float(np.mean(new)), steps.room(rows)
        most_prefilled = room / steps.step_s(rows, room) / mean_new
        most_served = min(most_prefilled, self._generating.most_served(self._most_rows, self._itl_s, span_s))
        passed = self._queue.advance(now_s + span_s / 2, span_s, arriving, most_served, self._room())
        prefilling = self._prefilling(steps, new, passed.served)
        chunk, busy = prefilling.chunk, prefilling.busy
        mixed_s, plain_s = steps.step_s(rows + 1, chunk), steps.step_s(rows + 1, 0.0)
        self._itl_s = 1 / (busy / mixed_s + (1 - busy) / plain_s)
        self._generating.advance(passed.served, self._itl_s, span_s)
        rows = self._generating.total
        load = arriving / most_prefilled
        wait_s = max(0.0, self._chance_s(new, steps, arriving, load, now_s) - passed.wait_s)
        waiting = self._queue.num_waiting
        residual = float(np.mean(new**2)) / (2 * mean_new)
        self._standing = Standing(waiting * mean_new, rows + waiting, busy, residual)
        running_s = 0.5 * (busy * mixed_s + (1 - busy) * (1 - math.exp(-rows)) * plain_s)
        own_s = np.ceil(new / room) * steps.step_s(rows, 1.0) + new * steps.token_s(rows)
        return FluidFlow(
            arriving=arriving,
            served=passed.served,
            refused=passed.refused,
            expired=passed.expired,
            hit_rate=1 - float(np.sum(new) / np.sum(self._demand.num_prompt)),
            rows=rows,
            waiting=waiting,
            queue_s=passed.wait_s,
            itl_s=self._itl_s,
            load=load,
            busy=1 - (1 - busy) * math.exp(-rows),
            first_s=own_s + passed.wait_s + running_s,
            wait_s=wait_s,
        )

    def _age_s(self, now_s: float, share: float) -> float:
        """How old what is cached may be."""
        if not self._engine.prefix_caching:
            return 0.0
        free = max(0.0, self._capacity - self._generating.total * self._left)
        return min(now_s, self._demand.age_held_s(share, self._bound, free, self._num_replicas))

    def _room(self) -> float:
        """For requests that wait: a replica takes so many beyond those for which it has a place."""
        places = self._engine.max_sequences + self._engine.max_queued_requests
        return max(0.0, places - self._generating.total)

    def _steps(self, new: Floats) -> MeanSteps:
        keys = float(np.sum(new * (self._demand.num_prompt - new / 2)) / np.sum(new))
        return MeanSteps(self._times, self._engine.max_step_tokens, self._row_context, keys, float(np.mean(new)))

    def _prefilling(self, steps: MeanSteps, new: Floats, served: float) -> _Prefilling:
        room = steps.room(self._generating.total)
        tokens_per_s = served * float(np.mean(new))
        chunk = float(np.mean(new) / np.mean(np.ceil(new / room)))
        for _ in range(_ROUNDS):
            chunk = min(room, max(chunk, tokens_per_s * steps.step_s(self._generating.total, chunk)))
        return _Prefilling(chunk, min(1.0, tokens_per_s / chunk * steps.step_s(self._generating.total, chunk)))

    def _chance_s(self, new: Floats, steps: MeanSteps, arriving: float, load: float, now_s: float) -> float:
        """Sakasegawa's G/G/c, of one replica or of all; no more than chance can have piled up since the beginning.

        Who has a prefix in one replica waits there for less than computing it in another takes (`router.kv_aware`).
        """
        room = steps.room(self._generating.total)
        token_s = steps.step_s(self._generating.total, room) / room
        prompt_s = float(np.mean(new)) * token_s
        variation = float(np.mean(new**2) / np.mean(new) ** 2)  # 1 + the squared coefficient
        calm = min(load, _MOST_LOAD)
        behind_s = variation / 2 * prompt_s / (1 - calm)  # where somebody is before
        prefixes_s = (self._demand.num_prompt - new) * token_s
        stays_s = float(np.mean(calm * _exponential_below(behind_s, prefixes_s)))
        most_calm = math.pow(calm, math.sqrt(2 * (self._num_replicas + 1)) - 1)
        shared_s = most_calm / self._num_replicas * behind_s
        bound = 1 - float(np.sum(new) / np.sum(self._demand.num_prompt))
        most_s = math.sqrt(2 / math.pi * arriving * variation * prompt_s**2 * now_s)
        return min(most_s, stays_s + (1 - bound) * shared_s)


def _exponential_below(mean: float, most: Floats) -> Floats:
    """What exponential times add to a mean by those that are at most so long."""
    lengths = most / mean
    return np.asarray(mean * (1 - np.exp(-lengths) * (1 + lengths)))
