"""The rows of a step on the device."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from llama4coder.attention.batch import StepLayout
from llama4coder.gpu.transfer import upload
from llama4coder.kv.sizing import num_blocks_for
from llama4coder.kv.striping import UNSHARDED, num_held
from llama4coder.parallel.layout import Part


@dataclass(frozen=True, slots=True)
class AttentionMetadata:
    """Which rows a step has, on the device; between replays of a graph the contents may change, the sizes may not.

    Row r's queries are the tokens `query_starts[r]` to `query_starts[r + 1]`, the last of its `lengths[r]` tokens.
    Every token belongs to a row. A row of length 0 pads the batch: its tokens attend to nothing, and its table is not
    read. Tables have the blocks of one KV shard, whose keys are all that is attended. Tokens at positions before
    `new_from[r]` are computed again: their keys and values are there already, and stay as they are.
    """

    query_starts: Tensor  # [num_rows + 1] int32
    lengths: Tensor  # [num_rows] int32
    new_from: Tensor  # [num_rows] int32
    table_rows: Tensor  # [num_rows] int32, of the table of all sequences: where their tails are
    tables: Tensor  # [num_rows, max_blocks] int32
    slots: Tensor  # [num_tokens] int64, where each token's key and value go; negative: nowhere
    max_query_tokens: int  # upper bounds, which choose the launch grid
    max_length: int  # of the keys of a row
    shard: Part = UNSHARDED

    @classmethod
    def of(cls, layout: StepLayout) -> "AttentionMetadata":
        """Copy a step's rows to the device, from pinned buffers: what is not pinned may be read too late."""
        rows = layout.rows
        max_length = max((num_held(row.length, layout.shard) for row in rows), default=0)
        starts = np.array([*(row.first for row in rows), len(layout.slots)], dtype=np.int32)
        numbers = np.array([(row.length, row.start, row.table_row) for row in rows], dtype=np.int32).reshape(-1, 3)
        tables = layout.table[numbers[:, 2], : num_blocks_for(max_length)].astype(np.int32)
        device = layout.slots.device
        columns = np.ascontiguousarray(numbers.T)
        lengths, new_from, table_rows = upload(columns, device).unbind()
        return cls(
            upload(starts, device),
            lengths,
            new_from,
            table_rows,
            upload(tables, device),
            layout.slots,
            max_query_tokens=max((row.num_tokens for row in rows), default=0),
            max_length=max_length,
            shard=layout.shard,
        )
