"""From a plan to tensors: the flat batch that one forward pass takes."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llama4coder.attention.batch import AttentionBatch, DecodeGroup, PrefillRow
from llama4coder.engine.plan import StepPlan, StepRow
from llama4coder.engine.rank_state import RankState
from llama4coder.kv.sizing import BLOCK_SIZE, num_blocks_for


@dataclass(frozen=True, slots=True)
class StepBatch:
    """The tokens of all rows, one after the other, in the plan's order."""

    token_ids: Tensor  # [num_tokens]
    positions: Tensor  # [num_tokens]
    attention: AttentionBatch
    first_token: dict[int, int]  # seq_id -> place of its row's first token


def build_batch(plan: StepPlan, state: RankState, device: torch.device) -> StepBatch:
    """Flatten a plan whose changes `state` has applied."""
    token_ids: list[int] = []
    positions: list[np.ndarray] = []
    slots: list[np.ndarray] = []
    first_token: dict[int, int] = {}
    for row in plan.rows:
        first_token[row.seq_id] = len(token_ids)
        token_ids.extend(state.tokens(row))
        span = np.arange(row.start, row.start + row.num_tokens)
        blocks = state.table[state[row.seq_id].table_row]
        positions.append(span)
        slots.append(blocks[span // BLOCK_SIZE] * BLOCK_SIZE + span % BLOCK_SIZE)
    decodes = [row for row in plan.rows if row.num_tokens == 1]
    attention = AttentionBatch(
        slots=torch.from_numpy(np.concatenate(slots)).to(device),
        decodes=tuple(_decode_group(group, state, first_token, device) for group in _by_length(decodes)),
        prefills=tuple(_prefill_row(row, state, first_token, device) for row in plan.rows if row.num_tokens > 1),
    )
    return StepBatch(
        token_ids=torch.tensor(token_ids, device=device),
        positions=torch.from_numpy(np.concatenate(positions)).to(device),
        attention=attention,
        first_token=first_token,
    )


def _by_length(rows: Sequence[StepRow]) -> list[list[StepRow]]:
    """Group rows whose block counts share a power of two: padding at most doubles what a row reads."""
    groups: dict[int, list[StepRow]] = defaultdict(list)
    for row in rows:
        groups[num_blocks_for(row.start + 1).bit_length()].append(row)
    return list(groups.values())


def _decode_group(
    rows: Sequence[StepRow], state: RankState, first_token: dict[int, int], device: torch.device
) -> DecodeGroup:
    lengths = np.array([row.start + 1 for row in rows])
    num_blocks = num_blocks_for(int(lengths.max()))
    table_rows = [state[row.seq_id].table_row for row in rows]
    mask = np.arange(num_blocks * BLOCK_SIZE) < lengths[:, None]
    return DecodeGroup(
        token_index=torch.tensor([first_token[row.seq_id] for row in rows], device=device),
        block_table=torch.from_numpy(state.table[table_rows, :num_blocks]).to(device),
        mask=torch.from_numpy(mask).to(device)[:, None, None, :],
    )


def _prefill_row(row: StepRow, state: RankState, first_token: dict[int, int], device: torch.device) -> PrefillRow:
    num_blocks = num_blocks_for(row.start + row.num_tokens)
    block_ids = state.table[state[row.seq_id].table_row, :num_blocks].copy()
    return PrefillRow(
        first=first_token[row.seq_id],
        num_tokens=row.num_tokens,
        start=row.start,
        block_ids=torch.from_numpy(block_ids).to(device),
    )
