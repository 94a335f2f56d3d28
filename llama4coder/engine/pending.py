"""A step that has been given to the device."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from torch import Tensor

from llama4coder.engine.plan import RowResult, StepResult, StepRow
from llama4coder.gpu.transfer import Moment
from llama4coder.types import PositionLogprobs


@dataclass(frozen=True, slots=True, repr=False)
class PendingStep:
    """Implements `LaunchedStep`; it touches no state of the rank, so any thread may wait."""

    step_id: int
    sampling: tuple[StepRow, ...]
    token_ids: Tensor  # [sum of their num_sampled], on the host when `end` has come
    logprobs: Mapping[int, tuple[PositionLogprobs, ...]]  # by sequence, for those that want them
    prompt_logprobs: Mapping[int, tuple[PositionLogprobs, ...]]
    failed: frozenset[int]  # sequences that can be held to their grammar no longer
    start: Moment
    end: Moment

    def is_done(self) -> bool:
        """See `LaunchedStep.is_done`."""
        return self.end.has_come()

    def result(self) -> StepResult:
        """Wait for the device: the only time that the host does so in a step, unless log-probabilities are wanted."""
        self.end.wait()
        sampled = iter(self.token_ids.tolist())
        tokens = {row.seq_id: verified(row.draft_token_ids, sampled) for row in self.sampling}
        tokens |= dict.fromkeys(self.failed, ())
        rows = tuple(
            RowResult(
                seq_id,
                (token_ids := tokens.get(seq_id, ())),
                self.logprobs.get(seq_id, ())[: len(token_ids)],
                self.prompt_logprobs.get(seq_id, ()),
                seq_id in self.failed,
            )
            for seq_id in {**tokens, **self.prompt_logprobs}
        )
        return StepResult(self.step_id, rows, self.end.seconds_since(self.start))


def verified(drafts: Sequence[int], sampled: Iterator[int]) -> tuple[int, ...]:
    """The target's samples that count: up to the first that differs from its guess, and that one too.

    Takes one sample after the known tokens and one after each guess.
    """
    samples = tuple(islice(sampled, len(drafts) + 1))
    num_right = next((index for index, draft in enumerate(drafts) if draft != samples[index]), len(drafts))
    return samples[: num_right + 1]
