"""A rank without a model: it checks every plan it gets, down to whose KV lies in which block and which slot."""

from collections.abc import Sequence
from itertools import accumulate

from llama4coder.engine.pending import verified
from llama4coder.engine.plan import RowResult, StepPlan, StepResult, StepRow
from llama4coder.kv.host_tier import BlockMove


class FakeRank:
    """Keeps what the plans say and checks that they make sense; token n of a sequence is its length modulo 7."""

    def __init__(self, max_sequences: int, block_size: int, num_shards: int = 1, num_slots: int = 0) -> None:
        self.max_sequences = max_sequences
        self.num_shards = num_shards
        self.block_size = block_size
        self.tokens: dict[int, list[int]] = {}
        self.blocks: dict[int, list[int]] = {}
        self.written: dict[
            int, list[int]
        ] = {}  # block -> of which beginnings of sequences it holds the last token's KV
        self.num_slots = num_slots
        self.kept: dict[int, list[int]] = {}  # the same of slots of host memory
        self.num_loaded = 0

    def execute(self, plan: StepPlan) -> StepResult:
        for seq_id in plan.gone:
            del self.tokens[seq_id], self.blocks[seq_id]
        for new in plan.new:
            assert new.seq_id not in self.tokens
            self.tokens[new.seq_id], self.blocks[new.seq_id] = list(new.token_ids), []
        assert len(self.tokens) <= self.max_sequences
        self._move(plan.saves, plan.loads)
        rows = []
        for row in plan.rows:
            tokens = self.tokens[row.seq_id]
            if row.samples:
                assert row.num_known <= len(tokens)
                tokens[row.num_known :] = row.draft_token_ids  # instead of what was sampled after wrong guesses
            assert row.samples or not row.draft_token_ids
            self._write(row)
            if row.samples:
                sampled = [(row.num_known + index) % 7 for index in range(row.num_sampled)]
                rows.append(RowResult(row.seq_id, verified(row.draft_token_ids, iter(sampled))))
                tokens[row.num_known :] = sampled
        return StepResult(plan.step_id, tuple(rows), 0.0)

    def _write(self, row: StepRow) -> None:
        """The KV before `start` must be of this very sequence; then its own tokens are written."""
        blocks, tokens, start = self.blocks[row.seq_id], self.tokens[row.seq_id], row.start
        blocks.extend(row.new_block_ids)
        for index, block in enumerate(blocks):
            assert block % self.num_shards == index % self.num_shards, "a block on another shard than its place says"
        beginnings = list(accumulate(tokens[: start + row.num_tokens], lambda before, token: hash((before, token))))
        for position in range(start):
            block, offset = blocks[position // self.block_size], position % self.block_size
            assert self.written[block][offset] == beginnings[position], "KV of another prompt"
        for position in range(start, start + row.num_tokens):
            content = self.written.setdefault(blocks[position // self.block_size], [])
            del content[position % self.block_size :]
            content.append(beginnings[position])

    def _move(self, saves: Sequence[BlockMove], loads: Sequence[BlockMove]) -> None:
        """Only full blocks move, within their shard, and never two to one place."""
        for move in (*saves, *loads):
            assert move.block_id % self.num_shards == move.slot_id % self.num_shards, "a move to another shard"
            assert move.slot_id < self.num_slots
        assert len({move.slot_id for move in saves}) == len(saves) and len({move.block_id for move in loads}) == len(
            loads
        )
        for move in saves:
            assert len(self.written[move.block_id]) == self.block_size, "a block was saved that is not full"
            self.kept[move.slot_id] = list(self.written[move.block_id])
        for move in loads:
            self.written[move.block_id] = list(self.kept[move.slot_id])
        self.num_loaded += len(loads)
