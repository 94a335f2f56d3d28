"""Steps of any rows over a scattered block table, for tests of attention and of whole layers."""

import numpy as np
import torch
from torch import Tensor

from llama4coder.attention.batch import HeadLayout, RowSpan, StepLayout
from llama4coder.kv.tensors import LayerKV
from llama4coder.layers.rope import Rotation

BLOCKS_PER_ROW = 20

# Rows as (number of tokens, position of the first).
ROWS: dict[str, list[tuple[int, int]]] = {
    "decode": [(1, 0), (1, 15), (1, 16), (1, 200)],
    "verify": [(6, 10), (1, 40), (8, 0), (3, 63)],
    "whole prompt": [(150, 0)],
    "later chunk": [(33, 70), (9, 1), (97, 16)],
    "mixed": [(1, 99), (40, 30), (4, 5), (64, 64), (1, 0)],
}


def random(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed)).bfloat16()


def layout_of(rows: list[tuple[int, int]]) -> StepLayout:
    table = np.random.default_rng(0).permutation(len(rows) * BLOCKS_PER_ROW).reshape(len(rows), BLOCKS_PER_ROW)
    spans: list[RowSpan] = []
    slots = []
    for index, (count, start) in enumerate(rows):
        spans.append(RowSpan(sum(span.num_tokens for span in spans), count, start, index))
        positions = np.arange(start, start + count)
        slots.append(table[index, positions // 16] * 16 + positions % 16)
    return StepLayout(tuple(spans), torch.from_numpy(np.concatenate(slots)), table)


def rotation_of(num_tokens: int, head_dim: int) -> Rotation:
    angles = torch.randn(num_tokens, head_dim // 2, generator=torch.Generator().manual_seed(5)).repeat(1, 2)
    return Rotation(angles.cos().bfloat16(), angles.sin().bfloat16())


def random_kv(num_rows: int, heads: HeadLayout) -> LayerKV:
    size = (num_rows * BLOCKS_PER_ROW, 16, heads.num_kv_heads, heads.head_dim)
    return LayerKV(random(*size, seed=6), random(*size, seed=7))
