"""A step that has been given to the device."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from llama4coder.engine.plan import RowResult, StepResult
from llama4coder.gpu.transfer import Moment
from llama4coder.types import PositionLogprobs


@dataclass(frozen=True, slots=True)
class PendingStep:
    """Implements `LaunchedStep`; it touches no state of the rank, so any thread may wait."""

    step_id: int
    sampled: tuple[int, ...]  # sequence ids of the rows that sample
    token_ids: Tensor  # [len(sampled)], on the host when `end` has come
    logprobs: Mapping[int, tuple[PositionLogprobs, ...]]  # by sequence, for those that want them
    prompt_logprobs: Mapping[int, tuple[PositionLogprobs, ...]]
    start: Moment
    end: Moment

    def is_done(self) -> bool:
        """See `LaunchedStep.is_done`."""
        return self.end.has_come()

    def result(self) -> StepResult:
        """Wait for the device: the only time that the host does so in a step, unless log-probabilities are wanted."""
        self.end.wait()
        tokens = {seq_id: (token_id,) for seq_id, token_id in zip(self.sampled, self.token_ids.tolist(), strict=True)}
        rows = tuple(
            RowResult(
                seq_id,
                tokens.get(seq_id, ()),
                self.logprobs.get(seq_id, ()),
                self.prompt_logprobs.get(seq_id, ()),
            )
            for seq_id in {**tokens, **self.prompt_logprobs}
        )
        return StepResult(self.step_id, rows, self.end.seconds_since(self.start))
