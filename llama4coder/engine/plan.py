"""What travels between the scheduler and the ranks: a plan per step, a result per step.

A rank keeps the sequences it has been told of, their tokens and their block tables; a plan holds only what changed.
The rank appends the tokens it samples to its own copy, so a row of a running sequence is a few integers; how many of
them counted, after guesses, it learns from where the next row starts.
"""

from dataclasses import dataclass

from llama4coder.kv.host_tier import BlockMove
from llama4coder.types import Constraint, PositionLogprobs, SamplingParams


@dataclass(frozen=True, slots=True, repr=False)
class NewSequence:
    """A sequence that the ranks do not know: just admitted, or admitted again after preemption."""

    seq_id: int
    token_ids: tuple[int, ...]  # prompt, and what had been generated before a preemption
    num_prompt_tokens: int
    sampling: SamplingParams
    seed: int
    min_tokens: int
    stop_token_ids: tuple[int, ...]  # cannot be sampled before min_tokens
    top_blocks: int | None = None  # that output tokens read; None: everything
    constraint: Constraint | None = None


@dataclass(frozen=True, slots=True, repr=False)
class StepRow:
    """One sequence's share of a step: tokens [start, start + num_tokens) go through the model.

    The last of them may be guesses. The logits of the last known token choose the next one, and those of each guess the
    one after it; a choice counts while the guesses before it were right.
    """

    seq_id: int
    start: int
    num_tokens: int
    new_block_ids: tuple[int, ...]  # appended to the sequence's block table
    samples: bool
    draft_token_ids: tuple[int, ...] = ()

    @property
    def num_known(self) -> int:
        """Tokens of the sequence that are not guesses, those before `start` included."""
        return self.start + self.num_tokens - len(self.draft_token_ids)

    @property
    def num_sampled(self) -> int:
        """Tokens that are chosen, whether they count or not."""
        return 1 + len(self.draft_token_ids) if self.samples else 0


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One forward pass: first forget `gone`, then learn `new`, copy `saves` and then `loads`, then run `rows`.

    `saves` take content of blocks to host memory, `loads` bring it back. No two of either write to the same place.
    """

    step_id: int
    gone: tuple[int, ...]
    new: tuple[NewSequence, ...]
    rows: tuple[StepRow, ...]
    saves: tuple[BlockMove, ...] = ()
    loads: tuple[BlockMove, ...] = ()

    @property
    def num_tokens(self) -> int:
        return sum(row.num_tokens for row in self.rows)

    @property
    def has_drafts(self) -> bool:
        return any(row.draft_token_ids for row in self.rows)


@dataclass(frozen=True, slots=True, repr=False)
class RowResult:
    """What one row produced; rows that neither sampled nor owe prompt log-probabilities have none.

    Its tokens are the guesses that were right, and the target's own one after them; none count where the output can be
    held to its constraint no longer.
    """

    seq_id: int
    token_ids: tuple[int, ...]
    logprobs: tuple[PositionLogprobs, ...] = ()
    prompt_logprobs: tuple[PositionLogprobs, ...] = ()  # of prompt tokens start + 1 .. start + num_tokens
    has_failed: bool = False


@dataclass(frozen=True, slots=True)
class StepResult:
    """The answer to the plan with the same `step_id`; `model_time_s` is the time in the model and the sampler."""

    step_id: int
    rows: tuple[RowResult, ...]
    model_time_s: float
