"""How one replica runs under a steady stream of equal requests: its batch, and the times of its steps.

Steps are those of our scheduler: every generating sequence has its token in each of them, and prompts take what is left
of `max_step_tokens`. With r rows (a request's own and those it meets), requests coming at rate l, each with p new
tokens of its prompt and d to decode:

    room = max_step_tokens - r                     tokens that a step has for prompts
    g    = max(chunk of one prompt, l p T(r, g))   tokens of prompts in a step that has any; the least, within `room`
    busy = l p / g * T(r, g)                       share of the time in such steps
    ITL  = 1 / (busy / T(r, g) + (1 - busy) / T(r, 0))
    r    = 1 + l d ITL                             Little's law, and an arrival's view of the others

and the batch is the smallest r for which the last two hold. `T` is a `StepTimes`.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

from llama4coder.planner.drafting import Drafting
from llama4coder.planner.step_load import StepLoad
from llama4coder.planner.step_time import StepTime, StepTimes
from llama4coder.planner.traffic import Work

_PRECISION = 1e-3  # of the largest rate


@dataclass(frozen=True, slots=True)
class Steady:
    """A replica that keeps up."""

    rate_per_s: float
    rows: float  # generating, as a request sees them, itself included
    itl_s: float
    decode: StepTime  # of a step without prompts
    chunk: StepTime  # of one with
    chunk_tokens: int
    busy: float  # share of the time in steps with prompts
    prefill_utilisation: float  # of what full steps could do of prompts


@dataclass(frozen=True)
class SteadyReplica:
    """One replica and the requests that it gets."""

    times: StepTimes
    work: Work
    max_step_tokens: int
    most_rows: int  # sequences that may generate at once, by blocks and by `max_sequences`
    drafting: Drafting

    def at(self, rate_per_s: float) -> Steady | None:
        """None where it cannot keep up."""
        low, high = 0, self._most_rows_at(rate_per_s)
        if high == 0 or self._excess(rate_per_s, high) < 0:
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._excess(rate_per_s, middle) >= 0 else (middle, high)
        return self._between(rate_per_s, high)

    @cached_property
    def max_rate_per_s(self) -> float:
        """The largest rate that it keeps up with; 0 if there is none."""
        low, high = 0.0, self.most_rows / self.decode(1).total_s
        while high - low > _PRECISION * high:
            middle = (low + high) / 2
            low, high = (middle, high) if self.at(middle) is not None else (low, middle)
        return low

    def decode(self, num_rows: int) -> StepTime:
        """A step of rows that generate, with their guesses."""
        return self.times.step(self._rows(num_rows))

    def mixed(self, num_rows: int, chunk_tokens: int) -> StepTime:
        """A step with a chunk of prompts as well."""
        return self.times.step(self._rows(num_rows) + self.work.chunk(chunk_tokens))

    def room(self, num_rows: int) -> int:
        """Tokens for prompts in a step with so many rows; guesses take none of them."""
        return max(1, self.max_step_tokens - num_rows)

    def chunk_of_one(self, num_rows: int) -> int:
        """Tokens of the mean chunk of a prompt that is alone."""
        num_chunks = -(-self.work.new_tokens // self.room(num_rows))
        return -(-self.work.new_tokens // num_chunks)

    def _most_rows_at(self, rate_per_s: float) -> int:
        """Beside more of them there is no room for the prompts that come; 0 if there is none beside any."""
        if self._steady(rate_per_s, self.most_rows) is not None:
            return self.most_rows
        low, high = 0, self.most_rows
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._steady(rate_per_s, middle) is None else (middle, high)
        return low

    def _between(self, rate_per_s: float, num_rows: int) -> Steady | None:
        """So many rows are too many, and one less too few: the means of a batch are no whole numbers."""
        steady, fewer = self._steady(rate_per_s, num_rows), self._steady(rate_per_s, max(1, num_rows - 1))
        if steady is None or fewer is None or num_rows == 1:
            return steady
        lacking, excess = -self._excess(rate_per_s, num_rows - 1), self._excess(rate_per_s, num_rows)
        share = lacking / (lacking + excess)
        itl_s = fewer.itl_s + share * (steady.itl_s - fewer.itl_s)
        return replace(steady, itl_s=itl_s, rows=1 + rate_per_s * self.work.decoded_tokens * itl_s)

    def _rows(self, num_rows: int) -> StepLoad:
        context = num_rows * self.work.mean_context
        return StepLoad.decoding(num_rows, context, self.drafting.tokens_per_row)

    def _steady(self, rate_per_s: float, num_rows: int) -> Steady | None:
        chunk_tokens = self._chunk_tokens(rate_per_s, num_rows)
        mixed, decode = self.mixed(num_rows, chunk_tokens), self.decode(num_rows)
        prompts_per_s = rate_per_s * self.work.new_tokens
        busy = prompts_per_s / chunk_tokens * mixed.total_s
        if busy > 1:
            return None
        decode_s, mixed_s = (self.drafting.round_s(step.total_s, num_rows) for step in (decode, mixed))
        itl_s = 1 / ((busy / mixed_s + (1 - busy) / decode_s) * self.drafting.tokens_per_step)
        rows = min(num_rows, 1 + rate_per_s * self.work.decoded_tokens * itl_s)
        room = self.room(num_rows)
        utilisation = prompts_per_s * self.mixed(num_rows, room).total_s / room
        return Steady(rate_per_s, rows, itl_s, decode, mixed, chunk_tokens, busy, utilisation)

    def _chunk_tokens(self, rate_per_s: float, num_rows: int) -> int:
        """The smallest g that takes in what comes during its own step; all the room where none does."""
        prompts_per_s = rate_per_s * self.work.new_tokens
        low, high = self.chunk_of_one(num_rows), self.room(num_rows)
        if prompts_per_s * self.mixed(num_rows, low).total_s <= low:
            return low
        while high - low > 1:
            middle = (low + high) // 2
            keeps_up = prompts_per_s * self.mixed(num_rows, middle).total_s <= middle
            low, high = (low, middle) if keeps_up else (middle, high)
        return high

    def _excess(self, rate_per_s: float, num_rows: int) -> float:
        """Rows beyond those that would be needed at the pace of so many."""
        steady = self._steady(rate_per_s, num_rows)
        return -math.inf if steady is None else num_rows - 1 - rate_per_s * self.work.decoded_tokens * steady.itl_s
