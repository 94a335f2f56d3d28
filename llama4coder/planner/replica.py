"""How fast one replica answers at a rate, and how much it can carry."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from llama4coder.planner.drafting import Drafting, DraftPool
from llama4coder.planner.steady import Steady, SteadyReplica
from llama4coder.planner.step_load import StepLoad
from llama4coder.planner.step_time import StepTime, StepTimes
from llama4coder.planner.traffic import Objectives, Work

_GUESSES = (1, 2, 3, 4, 6, 8, 12, 16, 32)  # numbers of them that are tried
_PRECISION = 1e-3
_IDLE_PER_S = 1e-9


@dataclass(frozen=True, slots=True)
class Ttft:
    """Seconds until the first token, on average, by what they go to."""

    slot_wait_s: float  # until there is room for one more sequence
    prefill_wait_s: float  # for prompts that came before
    step_wait_s: float  # for the step that runs
    prefill_s: float
    front_s: float = 0.0  # HTTP and the way to the engine and back, where they were measured

    @property
    def total_s(self) -> float:
        return self.slot_wait_s + self.prefill_wait_s + self.step_wait_s + self.prefill_s + self.front_s


@dataclass(frozen=True, slots=True)
class Pace:
    """One replica at one rate."""

    rate_per_s: float
    utilisation: float  # of the largest rate that it can carry
    steady: Steady
    drafting: Drafting
    ttft: Ttft

    @property
    def tokens_per_s_per_user(self) -> float:
        return 1 / self.steady.itl_s

    def meets(self, objectives: Objectives) -> bool:
        return (
            self.utilisation <= objectives.utilisation
            and self.ttft.total_s <= (objectives.ttft_s or math.inf)
            and self.steady.itl_s <= (objectives.itl_s or math.inf)
        )


@dataclass(frozen=True, slots=True)
class Guessing:
    """What is known of guesses beforehand; the draft-length policy chooses how many there are."""

    acceptance: float
    most_guesses: int
    pool: DraftPool | None = None

    def choices(self) -> Sequence[Drafting]:
        numbers = (number for number in _GUESSES if number <= self.most_guesses)
        return [Drafting(), *(Drafting(number, self.acceptance, self.pool) for number in numbers)]


@dataclass(frozen=True)
class Replica:
    """One replica, with as many guesses as suit each rate."""

    times: StepTimes
    work: Work
    max_step_tokens: int
    most_rows: int
    guessing: Guessing | None = None
    front_s: float = 0.0  # see `Ttft`

    @cached_property
    def variants(self) -> Sequence[SteadyReplica]:
        choices = [Drafting()] if self.guessing is None else self.guessing.choices()
        return [SteadyReplica(self.times, self.work, self.max_step_tokens, self.most_rows, each) for each in choices]

    @cached_property
    def max_rate_per_s(self) -> float:
        return max(variant.max_rate_per_s for variant in self.variants)

    def at(self, rate_per_s: float) -> Pace | None:
        """None where it cannot keep up."""
        found = [(variant, steady) for variant in self.variants if (steady := variant.at(rate_per_s)) is not None]
        if not found or rate_per_s >= self.max_rate_per_s:
            return None
        variant, steady = min(found, key=lambda each: each[1].itl_s)
        utilisation = rate_per_s / self.max_rate_per_s
        return Pace(rate_per_s, utilisation, steady, variant.drafting, self._ttft(variant, steady, utilisation))

    @property
    def idle(self) -> Pace | None:
        """With one request now and then."""
        return self.at(_IDLE_PER_S)

    def rate_within(self, objectives: Objectives) -> float:
        """The largest rate that meets them; 0 if none does."""
        low, high = 0.0, self.max_rate_per_s
        while high - low > _PRECISION * high:
            middle = (low + high) / 2
            pace = self.at(middle)
            low, high = (middle, high) if pace is not None and pace.meets(objectives) else (low, middle)
        return low

    def slower(self, factor: float) -> "Replica":
        """The same where every step takes so many times as long: with less capacity than was thought."""
        return replace(self, times=Slower(self.times, factor))

    def _ttft(self, variant: SteadyReplica, steady: Steady, utilisation: float) -> Ttft:
        """See `docs/planning.md`: Sakasegawa's G/G/c for slots, M/M/1 for prompts that are before, own chunks."""
        rows = max(1, round(steady.rows) - 1)
        room = variant.room(rows)
        full_s = variant.mixed(rows, room).total_s * self.work.new_tokens / room
        chunk_s = variant.mixed(rows, variant.chunk_of_one(rows)).total_s
        busy = steady.prefill_utilisation
        return Ttft(
            slot_wait_s=self._slot_wait_s(steady, utilisation),
            prefill_wait_s=busy / (1 - busy) * full_s if busy < 1 else math.inf,
            step_wait_s=0.5 * (steady.busy * steady.chunk.total_s + _running(steady) * steady.decode.total_s),
            prefill_s=-(-self.work.new_tokens // room) * chunk_s,
            front_s=self.front_s,
        )

    def _slot_wait_s(self, steady: Steady, utilisation: float) -> float:
        held_s = self.work.decoded_tokens * steady.itl_s
        exponent = math.sqrt(2 * (self.most_rows + 1)) - 1
        return float(utilisation**exponent / (self.most_rows * (1 - utilisation)) * held_s)


def _running(steady: Steady) -> float:
    """Share of the time in steps without prompts."""
    return min(1.0, steady.rows - 1) * (1 - steady.busy)


@dataclass(frozen=True, slots=True)
class Slower:
    """Implements `StepTimes`: another one's, each part so many times as long."""

    times: StepTimes
    factor: float

    def step(self, load: StepLoad) -> StepTime:
        """See `StepTimes`."""
        return StepTime({part: seconds * self.factor for part, seconds in self.times.step(load).parts_s.items()})
