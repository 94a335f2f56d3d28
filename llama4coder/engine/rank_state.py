"""What a rank remembers of the sequences it has been told of.

Token ids are where the model needs them, on the device: a token that one step samples is an input of the next, and
the host need not have seen it.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llama4coder.engine.plan import NewSequence, StepPlan, StepRow
from llama4coder.gpu.transfer import indices, upload
from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.kv.striping import UNSHARDED, places_held
from llama4coder.parallel.layout import Part
from llama4coder.sampling.adjust import TokenCounts, has_penalties
from llama4coder.sampling.sampler import SamplingRow


class RankSequence:
    """One sequence on a rank: its length, its sampling state, and its row of the tables."""

    def __init__(self, new: NewSequence, table_row: int, counts: TokenCounts | None) -> None:
        self.prompt_token_ids = new.token_ids[: new.num_prompt_tokens]
        self.num_tokens = len(new.token_ids)
        self.sampling = new.sampling
        self.table_row = table_row
        self.num_blocks = 0  # in the table
        self.counts = counts
        self._seed = new.seed
        self._min_tokens = new.min_tokens
        self._stop_token_ids = new.stop_token_ids

    @property
    def num_prompt_tokens(self) -> int:
        return len(self.prompt_token_ids)

    def sampling_row(self) -> SamplingRow:
        """How its next token is chosen."""
        num_output = self.num_tokens - self.num_prompt_tokens
        return SamplingRow(
            params=self.sampling,
            seed=self._seed,
            position=self.num_tokens,
            counts=self.counts,
            forbidden=self._stop_token_ids if num_output < self._min_tokens else (),
        )


class RankState:
    """All sequences of a rank, with their block tables on the host and their tokens on the device.

    A table has a row per sequence and, of its blocks, those that this rank's KV shard holds, by their places on it.
    """

    def __init__(
        self, max_sequences: int, max_blocks: int, vocab_size: int, device: torch.device, shard: Part = UNSHARDED
    ) -> None:
        self.shard = shard
        blocks_per_shard = -(-max_blocks // shard.count)
        self.table: npt.NDArray[np.int64] = np.zeros((max_sequences, blocks_per_shard), dtype=np.int64)
        self.tokens = torch.zeros(max_sequences, max_blocks * BLOCK_SIZE, dtype=torch.int64, device=device)
        self.device = device
        self._vocab_size = vocab_size
        self._sequences: dict[int, RankSequence] = {}
        self._free_rows = list(range(max_sequences))

    def __getitem__(self, seq_id: int) -> RankSequence:
        return self._sequences[seq_id]

    def apply(self, plan: StepPlan) -> None:
        """Forget, learn, and extend block tables, as the plan says."""
        for seq_id in plan.gone:
            self._free_rows.append(self._sequences.pop(seq_id).table_row)
        for new in plan.new:
            self._learn(new)
        for row in plan.rows:
            self._extend(row)

    def append(self, rows: Sequence[StepRow], token_ids: Tensor) -> None:
        """Add to each row's sequence the token that was chosen for it; `token_ids` `[num_rows]` on the device."""
        sequences = [self._sequences[row.seq_id] for row in rows]
        places = (
            indices([seq.table_row for seq in sequences], self.device),
            indices([seq.num_tokens for seq in sequences], self.device),
        )
        self.tokens[places] = token_ids
        for index, seq in enumerate(sequences):
            seq.num_tokens += 1
            if seq.counts is not None:
                seq.counts.add(token_ids[index : index + 1])

    def _learn(self, new: NewSequence) -> None:
        row = self._free_rows.pop()
        self.tokens[row, : len(new.token_ids)] = upload(np.array(new.token_ids, dtype=np.int64), self.device)
        counts = None
        if has_penalties(new.sampling):
            prompt, output = new.token_ids[: new.num_prompt_tokens], new.token_ids[new.num_prompt_tokens :]
            counts = TokenCounts(prompt, output, self._vocab_size, self.device)
        self._sequences[new.seq_id] = RankSequence(new, row, counts)

    def _extend(self, row: StepRow) -> None:
        seq = self._sequences[row.seq_id]
        places = places_held(row.new_block_ids, self.shard)
        end = seq.num_blocks + len(places)
        self.table[seq.table_row, seq.num_blocks : end] = places
        seq.num_blocks = end
