"""From a plan to tensors: the flat batch that one forward pass takes."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from llama4coder.attention.batch import RowSpan, StepLayout
from llama4coder.engine.plan import StepPlan
from llama4coder.engine.rank_state import RankState
from llama4coder.gpu.transfer import upload
from llama4coder.kv.striping import slots_of


@dataclass(frozen=True, slots=True, repr=False)
class StepBatch:
    """The tokens of all rows, one after the other, in the plan's order."""

    token_ids: Tensor  # [num_tokens]
    positions: Tensor  # [num_tokens]
    layout: StepLayout


def build_batch(plan: StepPlan, state: RankState) -> StepBatch:
    """Flatten a plan whose changes `state` has applied."""
    rows: list[RowSpan] = []
    num_tokens = 0
    for row in plan.rows:
        seq = state[row.seq_id]
        rows.append(RowSpan(num_tokens, row.num_tokens, row.start, seq.table_row, seq.sparsity))
        num_tokens += row.num_tokens
    places = np.empty((3, num_tokens), dtype=np.int64)  # one copy to the device instead of three
    table_rows, positions, slots = places
    table_rows[:] = np.repeat([row.table_row for row in rows], [row.num_tokens for row in rows])
    positions[:] = np.concatenate([np.arange(row.start, row.length) for row in rows])
    slots[:] = slots_of(positions, table_rows, state.table, state.shard)
    on_device = upload(places, state.device)
    return StepBatch(
        token_ids=state.tokens[on_device[0], on_device[1]],
        positions=on_device[1],
        layout=StepLayout(tuple(rows), on_device[2], state.table, state.shard),
    )
