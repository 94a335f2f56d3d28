"""A small model over paged KV of its own, whose sequences branch."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from llama4coder.attention.batch import RowSpan, StepLayout
from llama4coder.engine.forward import select
from llama4coder.engine.hardware import choose_kernels
from llama4coder.gpu.transfer import indices, upload
from llama4coder.kv.striping import UNSHARDED, slots_of
from llama4coder.kv.tensors import CopyableKV
from llama4coder.models.llama import Llama
from llama4coder.models.loader import load_llama
from llama4coder.models.weights import Placement
from llama4coder.parallel.share import RankShare
from llama4coder.progress import Progress
from llama4coder.resolved import ResolvedDraft
from llama4coder.sampling.sampler import SamplingRow
from llama4coder.shape import read_shape
from llama4coder.spec.branches import BlockCopy, Branch, BranchPool
from llama4coder.spec.ranking import Ranking


@dataclass(frozen=True, slots=True, repr=False)
class Feed:
    """Tokens to append to a branch, at least one, and how the one after them will be chosen, if anybody asks."""

    branch: Branch
    token_ids: Sequence[int]
    choice: SamplingRow | None


class DraftModel:
    """Extends branches, which are those of its `branches`, by many tokens in one step; for one thread.

    Positions count from the beginning of a branch; `max_positions` is the most that one may come to hold.
    """

    def __init__(self, model: Llama, kv: CopyableKV, ranking: Ranking, *, vocab_size: int, max_positions: int) -> None:
        self.max_positions = max_positions
        self.branches = BranchPool(kv.blocks.shape[2])
        self._model = model
        self._kv = kv
        self._layers = kv.layers()
        self._device = kv.blocks.device
        self._ranking = ranking
        self._vocab_size = vocab_size

    @classmethod
    def load(cls, config: ResolvedDraft, ranking: Ranking, progress: Progress) -> "DraftModel":
        """Read the weights and take the KV memory; raises `CheckpointError`. Threads are left as they are."""
        folder = Path(config.path)
        share = RankShare.whole(read_shape(folder))
        placement = Placement.of(config.dtype, config.device, config.quant_exclude)
        kernels = choose_kernels(placement, config.quant, config.num_threads)
        with torch.inference_mode():
            return cls(
                load_llama(folder, share, config.window_tokens, kernels, placement, progress),
                CopyableKV.allocate(share.plan, config.num_blocks, placement.dtype, placement.device),
                ranking,
                vocab_size=share.plan.shape.vocab_size,
                max_positions=config.window_tokens,
            )

    @torch.inference_mode()
    def extend(self, feeds: Sequence[Feed]) -> list[tuple[int, ...]]:
        """Compute keys and values of all these tokens, for which there must be blocks (`BranchPool.extend`).

        Returns the tokens that each feed's `choice` is likely to end with, best first, or nothing where it has none.
        """
        starts = [feed.branch.num_tokens for feed in feeds]
        self._copy([copy for feed in feeds for copy in self.branches.extend(feed.branch, len(feed.token_ids))])
        hidden = self._forward(feeds, starts)
        lasts = [end - 1 for end in accumulate(len(feed.token_ids) for feed in feeds)]
        asked = [(last, feed.choice) for last, feed in zip(lasts, feeds, strict=True) if feed.choice is not None]
        if not asked:
            return [()] * len(feeds)
        logits = self._model.logits(select(hidden, [last for last, _ in asked]))
        ranked = iter(self._ranking(logits, [choice for _, choice in asked]))
        return [() if feed.choice is None else next(ranked) for feed in feeds]

    def _copy(self, copies: Sequence[BlockCopy]) -> None:
        if copies:
            sources = indices([copy.source for copy in copies], self._device)
            self._kv.copy(sources, indices([copy.destination for copy in copies], self._device))

    def _forward(self, feeds: Sequence[Feed], starts: Sequence[int]) -> Tensor:
        lengths = np.array([len(feed.token_ids) for feed in feeds], dtype=np.int64)
        firsts = lengths.cumsum() - lengths
        table = np.zeros((len(feeds), max(len(feed.branch.block_ids) for feed in feeds)), dtype=np.int64)
        for row, feed in zip(table, feeds, strict=True):
            row[: len(feed.branch.block_ids)] = feed.branch.block_ids
        places = np.empty((3, int(lengths.sum())), dtype=np.int64)  # one copy to the device instead of three
        token_ids, positions, slots = places
        token_ids[:] = np.fromiter(chain.from_iterable(feed.token_ids for feed in feeds), np.int64, len(token_ids))
        # A target may know other tokens; a guess after any of them is bad anyway.
        token_ids[(token_ids < 0) | (token_ids >= self._vocab_size)] = 0
        positions[:] = np.arange(len(positions)) + np.repeat(np.array(starts) - firsts, lengths)
        slots[:] = slots_of(positions, np.repeat(np.arange(len(feeds)), lengths), table, UNSHARDED)
        on_device = upload(places, self._device)
        spans = zip(firsts.tolist(), lengths.tolist(), starts, range(len(feeds)), strict=True)
        layout = StepLayout(tuple(RowSpan(*span) for span in spans), on_device[2], table)
        attention = self._model.attention.prepare(layout)
        return self._model.forward(on_device[0], on_device[1], self._layers, attention)
