"""What a rank remembers of the sequences it has been told of."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from llama4coder.engine.plan import NewSequence, StepPlan, StepRow
from llama4coder.sampling.adjust import TokenCounts, has_penalties
from llama4coder.sampling.sampler import SamplingRow


class RankSequence:
    """One sequence on a rank: its tokens, its sampling state, and its row of the block table."""

    def __init__(self, new: NewSequence, table_row: int, vocab_size: int, device: torch.device) -> None:
        self.token_ids = list(new.token_ids)
        self.num_prompt_tokens = new.num_prompt_tokens
        self.sampling = new.sampling
        self.table_row = table_row
        self.num_blocks = 0
        self._seed = new.seed
        self._min_tokens = new.min_tokens
        self._stop_token_ids = new.stop_token_ids
        self._counts: TokenCounts | None = None
        if has_penalties(new.sampling):
            prompt, output = new.token_ids[: new.num_prompt_tokens], new.token_ids[new.num_prompt_tokens :]
            self._counts = TokenCounts(prompt, output, vocab_size, device)

    @property
    def num_output(self) -> int:
        return len(self.token_ids) - self.num_prompt_tokens

    def sampling_row(self) -> SamplingRow:
        """How its next token is chosen."""
        return SamplingRow(
            params=self.sampling,
            seed=self._seed,
            position=len(self.token_ids),
            counts=self._counts,
            forbidden=self._stop_token_ids if self.num_output < self._min_tokens else (),
        )

    def append(self, token_id: int) -> None:
        self.token_ids.append(token_id)
        if self._counts is not None:
            self._counts.add(token_id)


class RankState:
    """All sequences of a rank, and the block table `[max_sequences, max_blocks]` that they share."""

    def __init__(self, max_sequences: int, max_blocks: int, vocab_size: int, device: torch.device) -> None:
        self.table: npt.NDArray[np.int64] = np.zeros((max_sequences, max_blocks), dtype=np.int64)
        self._vocab_size = vocab_size
        self._device = device
        self._sequences: dict[int, RankSequence] = {}
        self._free_rows = list(range(max_sequences))

    def __getitem__(self, seq_id: int) -> RankSequence:
        return self._sequences[seq_id]

    def apply(self, plan: StepPlan) -> None:
        """Forget, learn, and extend block tables, as the plan says."""
        for seq_id in plan.gone:
            self._free_rows.append(self._sequences.pop(seq_id).table_row)
        for new in plan.new:
            self._sequences[new.seq_id] = RankSequence(new, self._free_rows.pop(), self._vocab_size, self._device)
        for row in plan.rows:
            self._extend(row)

    def _extend(self, row: StepRow) -> None:
        seq = self._sequences[row.seq_id]
        end = seq.num_blocks + len(row.new_block_ids)
        self.table[seq.table_row, seq.num_blocks : end] = row.new_block_ids
        seq.num_blocks = end

    def tokens(self, row: StepRow) -> Sequence[int]:
        """The tokens that a row puts through the model."""
        return self._sequences[row.seq_id].token_ids[row.start : row.start + row.num_tokens]
