"""Randomness as a function of (seed, position): the same on every replica, batch, rank and device (design section 5).

The generator is Philox4x32-10 (Salmon et al., SC 2011): key (low and high half of the seed), counter
(token_id // 4, low and high half of the position, 0); word token_id % 4 of the block belongs to the token. So the noise
of any token can be computed alone, and 32-bit products are all it needs: fast on CPUs and GPUs alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_Words = npt.NDArray[np.uint64]  # 32-bit values, with room for their products

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
_ROUNDS = 10
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_CACHED_WORDS = 2**14  # temporaries of this size stay in the processor's cache
_TO_UNIT = 2.0**-32


@dataclass(frozen=True, slots=True)
class NoiseKey:
    """Which noise: that of the token at `position` of the request with `seed`."""

    seed: int  # 0 <= seed < 2**64
    position: int


def gumbel_noise(keys: Sequence[NoiseKey], num_tokens: int, first_token: int = 0) -> Tensor:
    """Standard Gumbel noise `[num_keys, num_tokens]`, float32, of the tokens from `first_token`, a multiple of 4, on.

    `argmax(log p + noise)` is a sample of p (Gumbel 1954; arXiv 2408.07978 for why speculation may rely on it).
    """
    return _gumbel(philox_words(keys, num_tokens, first_token))


def gumbel_noise_of(keys: Sequence[NoiseKey], token_ids: npt.NDArray[np.int64]) -> Tensor:
    """The same noise of some tokens only: `[num_keys, num_tokens]` of the `token_ids` `[num_keys, num_tokens]`."""
    seeds, positions = _columns(keys)
    blocks, lanes = np.divmod(token_ids.astype(np.uint64), np.uint64(4))
    return _gumbel(np.choose(lanes.astype(np.int64), _philox(blocks, positions, seeds)))


def _gumbel(words: npt.NDArray[np.unsignedinteger]) -> Tensor:
    uniform = torch.from_numpy(words.astype(np.float32)).add_(0.5).mul_(_TO_UNIT)
    # -log1p(-u) is exact where it matters: large noise comes from small u; u rounded to 1 is never the winner.
    return uniform.neg_().log1p_().neg_().log_().neg_()


def philox_words(keys: Sequence[NoiseKey], num_tokens: int, first_token: int = 0) -> npt.NDArray[np.uint32]:
    """The random words `[num_keys, num_tokens]` behind the noise."""
    seeds, positions = _columns(keys)
    blocks = np.arange(first_token // 4, first_token // 4 - (-num_tokens // 4), dtype=np.uint64)
    words = np.empty((len(keys), len(blocks), 4), dtype=np.uint32)
    keys_per_pass = max(1, _CACHED_WORDS // len(blocks))
    for first in range(0, len(keys), keys_per_pass):
        some = slice(first, first + keys_per_pass)
        for lane, word in enumerate(_philox(blocks, positions[some], seeds[some])):
            words[some, :, lane] = word
    return words.reshape(len(keys), -1)[:, :num_tokens]


def _columns(keys: Sequence[NoiseKey]) -> tuple[_Words, _Words]:
    """Seeds and positions, each `[num_keys, 1]`."""
    seeds = np.array([key.seed for key in keys], dtype=np.uint64)[:, None]
    positions = np.array([key.position for key in keys], dtype=np.uint64)[:, None]
    return seeds, positions


def _philox(blocks: _Words, positions: _Words, seeds: _Words) -> Sequence[_Words]:
    """The four words of each block, each `[num_keys, num_blocks]`; all keys have the same blocks, or each its own."""
    c0, c1, c2, c3 = blocks, positions & _LOW, positions >> _HALF, np.zeros_like(positions)
    k0, k1 = seeds & _LOW, seeds >> _HALF
    for _ in range(_ROUNDS):
        first, second = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1 = (second >> _HALF) ^ c1 ^ k0, second & _LOW
        c2, c3 = (first >> _HALF) ^ c3 ^ k1, first & _LOW
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return c0, c1, c2, c3
