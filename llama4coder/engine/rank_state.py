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
from llama4coder.kv.sparsity import Sparsity
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
        self.sparsity = None if new.top_blocks is None else Sparsity.of(new.num_prompt_tokens, new.top_blocks)
        self._seed = new.seed
        self._min_tokens = new.min_tokens
        self._stop_token_ids = new.stop_token_ids

    @property
    def num_prompt_tokens(self) -> int:
        return len(self.prompt_token_ids)

    @property
    def wants_logprobs(self) -> bool:
        return self.sampling.num_logprobs is not None

    @property
    def num_logprobs(self) -> int:
        return self.sampling.num_logprobs or 0

    def sampling_row(self, assumed: Sequence[int] = ()) -> SamplingRow:
        """How the next token is chosen after its own and the `assumed` ones."""
        position = self.num_tokens + len(assumed)
        return SamplingRow(
            params=self.sampling,
            seed=self._seed,
            position=position,
            counts=self.counts,
            assumed=assumed,
            forbidden=self._stop_token_ids if position - self.num_prompt_tokens < self._min_tokens else (),
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
            if row.samples:
                self._settle(row)
        guesses = [token_id for row in plan.rows for token_id in row.draft_token_ids]
        if guesses:
            self._write([row for row in plan.rows if row.draft_token_ids], indices(guesses, self.device), num_more=0)

    def keep(self, rows: Sequence[StepRow], token_ids: Tensor) -> None:
        """Write what was chosen, `[sum of num_sampled]` on the device, after each row's known tokens.

        What counts of it is known when the next row of the sequence says where it starts.
        """
        self._write(rows, token_ids, num_more=1)

    def _learn(self, new: NewSequence) -> None:
        row = self._free_rows.pop()
        self.tokens[row, : len(new.token_ids)] = upload(np.array(new.token_ids, dtype=np.int64), self.device)
        counts = None
        if has_penalties(new.sampling):
            prompt, output = new.token_ids[: new.num_prompt_tokens], new.token_ids[new.num_prompt_tokens :]
            counts = TokenCounts(prompt, output, self._vocab_size, self.device)
        self._sequences[new.seq_id] = RankSequence(new, row, counts)

    def _settle(self, row: StepRow) -> None:
        """The tokens that were kept before, up to those that the row takes for known, are the sequence's."""
        seq = self._sequences[row.seq_id]
        if seq.counts is not None:
            seq.counts.add(self.tokens[seq.table_row, seq.num_tokens : row.num_known])
        seq.num_tokens = row.num_known

    def _write(self, rows: Sequence[StepRow], token_ids: Tensor, num_more: int) -> None:
        """As many tokens as each row has guesses, and `num_more`, to the places after its known ones."""
        lengths = np.array([len(row.draft_token_ids) + num_more for row in rows])
        ends = lengths.cumsum()
        places = np.empty((2, ends[-1]), dtype=np.int64)
        places[0] = np.repeat([self._sequences[row.seq_id].table_row for row in rows], lengths)
        places[1] = np.arange(ends[-1]) + np.repeat([row.num_known for row in rows] - ends + lengths, lengths)
        on_device = upload(places, self.device)
        self.tokens[on_device[0], on_device[1]] = token_ids

    def _extend(self, row: StepRow) -> None:
        seq = self._sequences[row.seq_id]
        places = places_held(row.new_block_ids, self.shard)
        end = seq.num_blocks + len(places)
        self.table[seq.table_row, seq.num_blocks : end] = places
        seq.num_blocks = end
