"""Steps of any rows, for tests of attention and of whole layers."""

import torch
from torch import Tensor

from llama4coder.attention.batch import HeadLayout
from tests.support.steps import RandomStep, Row, random_step

STEPS = {
    "decode": [Row(1, 0), Row(1, 15), Row(1, 16), Row(1, 200)],
    "verify": [Row(6, 10), Row(1, 40), Row(8, 0), Row(3, 63)],
    "whole prompt": [Row(150, 0)],
    "later chunk": [Row(33, 70), Row(9, 1), Row(97, 16)],
    "mixed": [Row(1, 99), Row(40, 30), Row(4, 5), Row(64, 64), Row(1, 0)],
}


def random(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed)).bfloat16()


def bfloat16_step(rows: list[Row], heads: HeadLayout) -> RandomStep:
    return random_step(rows, heads, torch.bfloat16, torch.device("cpu"))
