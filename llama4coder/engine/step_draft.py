"""A step while the scheduler fills it."""

from dataclasses import replace

from llama4coder.engine.plan import StepRow
from llama4coder.engine.sequence import Sequence
from llama4coder.kv.step_sizing import SCORED_TOKENS


class StepDraft:
    """Rows by sequence id, in the order in which they were given, and how many tokens may still join them.

    Of prompts whose log-probabilities are wanted only a part joins each step: every token of it costs a row of logits.
    """

    def __init__(self, max_tokens: int) -> None:
        self.num_tokens_left = max_tokens
        self._num_scored_left = SCORED_TOKENS
        self.rows: dict[int, StepRow] = {}
        self.admitted: list[Sequence] = []

    def room_for(self, seq: Sequence) -> int:
        """How many of a sequence's tokens may join."""
        num_tokens = min(seq.num_unplanned, self.num_tokens_left)
        return min(num_tokens, self._num_scored_left) if seq.is_scored else num_tokens

    def add(self, seq: Sequence, row: StepRow) -> None:
        """Let a sequence take part."""
        self.rows[row.seq_id] = row
        self.num_tokens_left -= row.num_tokens
        if seq.is_scored:
            self._num_scored_left -= row.num_tokens

    def extend(self, seq_id: int, draft: tuple[int, ...], new_block_ids: tuple[int, ...]) -> None:
        """Append guesses to a sequence's row."""
        row = self.rows[seq_id]
        self.rows[seq_id] = replace(
            row,
            num_tokens=row.num_tokens + len(draft),
            new_block_ids=row.new_block_ids + new_block_ids,
            draft_token_ids=draft,
        )
        self.num_tokens_left -= len(draft)
