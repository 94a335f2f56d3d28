"""What guessing gains: tokens per step for an acceptance, and the time that a draft model needs for them.

Formulas: E(k) = (1 - a^(k+1)) / (1 - a) tokens of k guesses of which each is right with probability a if those before
it are (Leviathan, arXiv 2211.17192). The pool has guesses for the outcome that came with probability h, otherwise the
row decodes one token: h E(k) + (1 - h) tokens per step, which takes as long as verification or k steps of the draft
model, the slower one, for all likely outcomes, with a round trip (arXiv 2603.03251, without waiting on a miss).
"""

from dataclasses import dataclass

from llama4coder.config import DraftConfig
from llama4coder.errors import ConfigError
from llama4coder.planner.step_load import StepLoad
from llama4coder.planner.step_time import StepTimes

ROUND_TRIP_S = 0.5e-3
"""Between a target and its drafter, over ZMQ on one network, with both schedulers' work."""
HIT_RATE = 0.85
"""Of outcomes that a pool has guessed for; 0.79 to 0.88 were measured for three to five of them."""


@dataclass(frozen=True, slots=True)
class DraftPool:
    """Draft models, one on each GPU of the pool, that guess ahead."""

    times: StepTimes  # of one of them
    hit_rate: float = HIT_RATE
    num_outcomes: int = 1 + DraftConfig().max_forks  # of a verification that it drafts for
    window_tokens: int = DraftConfig().window_tokens
    round_trip_s: float = ROUND_TRIP_S

    def __post_init__(self) -> None:
        if not 0 <= self.hit_rate <= 1:
            raise ConfigError(f"a hit rate of {self.hit_rate} is no share: give a number from 0 to 1")

    def round_s(self, num_sequences: int, num_guesses: int) -> float:
        """Until all guesses for so many sequences are there."""
        rows = num_sequences * self.num_outcomes
        return (
            num_guesses * self.times.step(StepLoad.decoding(rows, rows * self.window_tokens)).total_s
            + self.round_trip_s
        )


@dataclass(frozen=True, slots=True)
class Drafting:
    """So many guesses for each row of each step; without a pool they cost nothing, as n-grams do."""

    num_guesses: int = 0
    acceptance: float = 0.0  # of a guess behind right ones
    pool: DraftPool | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.acceptance < 1:
            raise ConfigError(f"an acceptance of {self.acceptance} is no share below 1: give a number from 0 to 0.99")

    @property
    def tokens_per_row(self) -> int:
        return 1 + self.num_guesses

    @property
    def tokens_per_step(self) -> float:
        """Of each row, on average."""
        accepted = (1 - self.acceptance ** (self.num_guesses + 1)) / (1 - self.acceptance)
        hit_rate = 1.0 if self.pool is None else self.pool.hit_rate
        return hit_rate * accepted + 1 - hit_rate

    def round_s(self, verify_s: float, num_rows: int) -> float:
        """One step, and what of drafting takes longer than it."""
        if self.pool is None or self.num_guesses == 0:
            return verify_s
        return max(verify_s, self.pool.round_s(num_rows, self.num_guesses))

    def pool_replicas(self, num_targets: int, num_rows: int, verify_s: float) -> int:
        """The fewest that draft in time for all targets; one for each where that cannot be."""
        if self.pool is None or self.num_guesses == 0:
            return 0
        for num_replicas in range(1, num_targets):
            num_sequences = -(-num_targets * num_rows // num_replicas)
            if self.pool.round_s(num_sequences, self.num_guesses) <= verify_s:
                return num_replicas
        return num_targets
