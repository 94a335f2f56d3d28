"""Which tokens of a step attend to which blocks."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class PrefillRow:
    """Tokens `[first, first + num_tokens)` of the step: one sequence's positions from `start` on."""

    first: int
    num_tokens: int
    start: int
    block_ids: Tensor  # [num_blocks_of_sequence]


@dataclass(frozen=True, slots=True)
class DecodeGroup:
    """Sequences with one new token each and contexts of like length, computed together."""

    token_index: Tensor  # [num_sequences], their tokens' places in the step
    block_table: Tensor  # [num_sequences, max_blocks], padded with any valid block
    mask: Tensor  # [num_sequences, 1, 1, max_blocks * block_size], True where a token may be attended


@dataclass(frozen=True, slots=True)
class AttentionBatch:
    """A step's attention; the same for every layer."""

    slots: Tensor  # [num_tokens], where each token's keys and values go
    decodes: tuple[DecodeGroup, ...]
    prefills: tuple[PrefillRow, ...]
