"""From a plan to tensors: the flat batch that one forward pass takes."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llama4coder.attention.batch import RowSpan, StepLayout
from llama4coder.engine.plan import StepPlan
from llama4coder.engine.rank_state import RankState
from llama4coder.kv.sizing import BLOCK_SIZE


@dataclass(frozen=True, slots=True)
class StepBatch:
    """The tokens of all rows, one after the other, in the plan's order."""

    token_ids: Tensor  # [num_tokens]
    positions: Tensor  # [num_tokens]
    layout: StepLayout


def build_batch(plan: StepPlan, state: RankState, device: torch.device) -> StepBatch:
    """Flatten a plan whose changes `state` has applied."""
    token_ids: list[int] = []
    rows: list[RowSpan] = []
    for row in plan.rows:
        rows.append(RowSpan(len(token_ids), row.num_tokens, row.start, state[row.seq_id].table_row))
        token_ids.extend(state.tokens(row))
    positions = np.concatenate([np.arange(row.start, row.length) for row in rows])
    table_rows = np.repeat([row.table_row for row in rows], [row.num_tokens for row in rows])
    slots = state.table[table_rows, positions // BLOCK_SIZE] * BLOCK_SIZE + positions % BLOCK_SIZE
    return StepBatch(
        token_ids=torch.tensor(token_ids, device=device),
        positions=torch.from_numpy(positions).to(device),
        layout=StepLayout(tuple(rows), torch.from_numpy(slots).to(device), state.table),
    )
