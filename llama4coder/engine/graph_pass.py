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


class GraphPass:
    """Implements `ForwardPass`: steps whose rows have equally many tokens are replayed, everything else is eager.

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
        table_rows = np.array([self._state[row.seq_id].table_row for row in plan.rows], dtype=np.int64)
        lengths = np.array([row.start + row.num_tokens for row in plan.rows], dtype=np.int64)
        return select(self._graphs.replay(size, table_rows, lengths), wanted)

    def _size(self, plan: StepPlan) -> GraphSize | None:
        tokens_per_row = plan.rows[0].num_tokens
        if any(row.num_tokens != tokens_per_row for row in plan.rows):
            return None
        return self._graphs.sizes.padded(len(plan.rows), tokens_per_row)

    def _add_blocks(self, plan: StepPlan) -> None:
        changes: list[tuple[int, int, int]] = []  # row, column, block
        for row in plan.rows:
            seq = self._state[row.seq_id]
            first = seq.num_blocks - len(row.new_block_ids)
            changes += ((seq.table_row, first + index, block) for index, block in enumerate(row.new_block_ids))
        if changes:
            rows, columns, blocks = upload(np.array(changes, dtype=np.int64).T.copy(), self._blocks.device)
            self._blocks.index_put_((rows, columns), blocks.to(torch.int32))
