"""Randomness as a function of (seed, position): the same on every replica, batch and rank (design section 5).

The generator is Philox4x64-10 (Salmon et al., SC 2011) as numpy has it: key (seed, 0), counter (0, position, 0, 0), so
position p owns 2**64 draws of its own and none is used twice. Word i of the stream, 32 bits, belongs to token id i.
"""

import numpy as np
import torch
from torch import Tensor

_TO_UNIT = 2.0**-32


def gumbel_noise(seed: int, position: int, vocab_size: int) -> Tensor:
    """Standard Gumbel noise `[vocab_size]`, float32, for the token at `position` of the request with `seed`.

    `argmax(log p + noise)` is a sample of p (Gumbel 1954; arXiv 2408.07978 for why speculation may rely on it).
    """
    key = np.array([seed, 0], dtype=np.uint64)
    generator = np.random.Philox(key=key, counter=np.array([0, position, 0, 0], dtype=np.uint64))
    words = generator.random_raw(-(-vocab_size // 2)).view(np.uint32)[:vocab_size]
    uniform = torch.from_numpy((words.astype(np.float32) + 0.5) * _TO_UNIT)
    # -log1p(-u) is exact where it matters: large noise comes from small u; u rounded to 1 is never the winner.
    return -torch.log(-torch.log1p(-uniform))
