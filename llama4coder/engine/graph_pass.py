"""Steps by graphs where there is one for their size."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from llama4coder.engine.forward import EagerPass, ForwardPass, select
from llama4coder.engine.plan import StepPlan
from llama4coder.engine.rank_state import RankState
from llama4coder.gpu.graph_sizes import GraphSize, GraphSizes
from llama4coder.gpu.graphs import GraphableAttention, ModelGraphs, Recorder, SequenceTables
from llama4coder.gpu.transfer import upload

_FLAT_TOKENS = 128  # up to about so many tokens a step takes as long as with one: reading the weights


class GraphPass:
    """Implements `ForwardPass`: steps of short rows are replayed, where padding costs little; everything else is eager.

    Keeps the device's block tables up to date, by what each plan adds.
    """

    def __init__(self, graphs: ModelGraphs, blocks: Tensor, state: RankState, eager: ForwardPass) -> None:
        self._graphs = graphs
        self._blocks = blocks  # [max_sequences, max_blocks] int32
        self._state = state
        self._eager = eager

    @classmethod
    def record(
        cls, eager: EagerPass, attention: GraphableAttention, sizes: GraphSizes, recorder: Recorder
    ) -> "GraphPass":
        """Record the graphs of `eager`'s model; takes seconds."""
        state = eager.state
        blocks = torch.zeros(state.table.shape, dtype=torch.int32, device=state.device)
        tables = SequenceTables(state.tokens, blocks)
        return cls(ModelGraphs(eager.model, attention, eager.kv, tables, sizes, recorder), blocks, state, eager)

    def __call__(self, plan: StepPlan, wanted: Sequence[int]) -> Tensor:
        """See `ForwardPass`."""
        self._add_blocks(plan)
        size = self._size(plan)
        if size is None:
            return self._eager(plan, wanted)
        rows = [(self._state[row.seq_id].table_row, row.start + row.num_tokens, row.num_tokens) for row in plan.rows]
        logits = self._graphs.replay(size, np.array(rows, dtype=np.int64))
        return select(logits, _padded_places(plan, size, wanted))

    def _size(self, plan: StepPlan) -> GraphSize | None:
        size = self._graphs.sizes.padded(len(plan.rows), max(row.num_tokens for row in plan.rows))
        is_worth_it = size is not None and size.num_tokens <= max(_FLAT_TOKENS, 2 * plan.num_tokens)
        return size if is_worth_it else None

    def _add_blocks(self, plan: StepPlan) -> None:
        changes: list[tuple[int, int, int]] = []  # row, column, block
        for row in plan.rows:
            seq = self._state[row.seq_id]
            first = seq.num_blocks - len(row.new_block_ids)
            changes += ((seq.table_row, first + index, block) for index, block in enumerate(row.new_block_ids))
        if changes:
            rows, columns, blocks = upload(np.array(changes, dtype=np.int64).T.copy(), self._blocks.device)
            self._blocks.index_put_((rows, columns), blocks.to(torch.int32))


def _padded_places(plan: StepPlan, size: GraphSize, wanted: Sequence[int]) -> Sequence[int]:
    """Where the tokens of the step are whose rows end together."""
    nums_tokens = [row.num_tokens for row in plan.rows]
    ends = np.arange(1, len(nums_tokens) + 1) * size.tokens_per_row
    shifts = np.repeat(ends - np.cumsum(nums_tokens), nums_tokens)
    places: list[int] = (np.asarray(wanted, dtype=np.int64) + shifts[list(wanted)]).tolist()
    return places
