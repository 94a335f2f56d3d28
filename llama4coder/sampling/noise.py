"""Randomness as a function of (seed, position): the same on every replica, batch and rank (design section 5).

The generator is Philox4x64-10 (Salmon et al., SC 2011) as numpy has it: key (seed, 0), counter (0, position, 0, 0), so
position p owns 2**64 draws of its own and none is used twice. Word i of the stream, 32 bits, belongs to token id i.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_TO_UNIT = 2.0**-32


@dataclass(frozen=True, slots=True)
class NoiseKey:
    """Which noise: that of the token at `position` of the request with `seed`."""

    seed: int  # 0 <= seed < 2**64
    position: int


def gumbel_noise(keys: Sequence[NoiseKey], vocab_size: int) -> Tensor:
    """Standard Gumbel noise `[num_keys, vocab_size]`, float32.

    `argmax(log p + noise)` is a sample of p (Gumbel 1954; arXiv 2408.07978 for why speculation may rely on it).
    """
    words = np.empty((len(keys), -(-vocab_size // 2)), dtype=np.uint64)
    for row, key in zip(words, keys, strict=True):
        row[:] = _generator(key).random_raw(len(row))
    uniform = torch.from_numpy(words.view(np.uint32)[:, :vocab_size].astype(np.float32)).add_(0.5).mul_(_TO_UNIT)
    # -log1p(-u) is exact where it matters: large noise comes from small u; u rounded to 1 is never the winner.
    return uniform.neg_().log1p_().neg_().log_().neg_()


def _generator(key: NoiseKey) -> np.random.Philox:
    counter: npt.NDArray[np.uint64] = np.array([0, key.position, 0, 0], dtype=np.uint64)
    return np.random.Philox(key=np.array([key.seed, 0], dtype=np.uint64), counter=counter)
