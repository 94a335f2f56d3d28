"""Whose logits a step needs: a forward pass computes no others."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from llama4coder.engine.plan import StepPlan, StepRow
from llama4coder.engine.rank_state import RankState
from llama4coder.sampling.logprobs import position_logprobs
from llama4coder.types import PositionLogprobs


@dataclass(frozen=True, slots=True)
class ScoredPrompt:
    """Prompt tokens of one row whose successors' log-probabilities are wanted."""

    seq_id: int
    rows: slice  # of the wanted logits
    successors: Sequence[int]
    num_top: int

    def logprobs(self, logits: Tensor) -> tuple[PositionLogprobs, ...]:
        """Of the logits of `rows`."""
        return position_logprobs(logits, self.successors, self.num_top)


@dataclass(frozen=True, slots=True)
class WantedTokens:
    """Each sampling row's last known token and its guesses, in the plan's order, then the scored prompts' tokens."""

    places: tuple[int, ...]  # in the step
    sampling: tuple[StepRow, ...]
    scored: tuple[ScoredPrompt, ...]

    @classmethod
    def of(cls, plan: StepPlan, state: RankState) -> "WantedTokens":
        """From a plan that `state` has applied."""
        last: list[int] = []
        scored: list[ScoredPrompt] = []
        scored_places: list[int] = []
        num_sampling = sum(row.num_sampled for row in plan.rows)
        first = 0
        for row in plan.rows:
            end = first + row.num_tokens
            last.extend(range(end - row.num_sampled, end))
            num_scored = _num_scored(row, state)
            if num_scored:
                scored.append(_scored_prompt(row, state, num_sampling + len(scored_places), num_scored))
                scored_places.extend(range(first, first + num_scored))
            first = end
        sampling = tuple(row for row in plan.rows if row.samples)
        return cls((*last, *scored_places), sampling, tuple(scored))


def _num_scored(row: StepRow, state: RankState) -> int:
    """How many of the row's tokens are prompt tokens with a successor in the prompt, if anyone wants to know."""
    seq = state[row.seq_id]
    if seq.sampling.num_prompt_logprobs is None:
        return 0
    return max(0, min(row.start + row.num_tokens, seq.num_prompt_tokens - 1) - row.start)


def _scored_prompt(row: StepRow, state: RankState, first_logits: int, num_scored: int) -> ScoredPrompt:
    seq = state[row.seq_id]
    return ScoredPrompt(
        seq_id=row.seq_id,
        rows=slice(first_logits, first_logits + num_scored),
        successors=seq.prompt_token_ids[row.start + 1 : row.start + 1 + num_scored],
        num_top=seq.sampling.num_prompt_logprobs or 0,
    )
