"""Logits whose columns the ranks divide."""

from dataclasses import dataclass

import torch
from torch import Tensor

from llama4coder.parallel.comm import Communicator
from llama4coder.parallel.plan import RankPlan
from llama4coder.parallel.share import RankShare


@dataclass(frozen=True, slots=True)
class ShardedVocabulary:
    """Each rank has logits `[num_rows, its token ids]`; every rank calls the same methods with the same rows."""

    shares: tuple[slice, ...]  # of the token ids, by rank
    ranks: Communicator

    @classmethod
    def of(cls, share: RankShare) -> "ShardedVocabulary":
        plan, num_ranks = share.plan, share.plan.layout.num_ranks
        shares = (RankPlan(plan.shape, plan.layout, rank).vocabulary for rank in range(num_ranks))
        return cls(tuple(shares), share.ranks)

    @property
    def share(self) -> slice:
        """The token ids whose logits this rank has."""
        return self.shares[self.ranks.index]

    def whole(self, logits: Tensor) -> Tensor:
        """The rows `[num_rows, vocab_size]` of which every rank gives its part: to be asked for few rows only."""
        if self.ranks.size == 1:
            return logits
        width = max(share.stop - share.start for share in self.shares)
        padded = logits.new_zeros(len(logits), width)
        padded[:, : logits.shape[1]] = logits
        gathered = self.ranks.gather(padded)
        parts = [part[:, : share.stop - share.start] for part, share in zip(gathered, self.shares, strict=True)]
        return torch.cat(parts, dim=1)

    def best(self, token_ids: Tensor, values: Tensor) -> Tensor:
        """Of every rank's best token of each row the best of all: its id, `[num_rows]`; the first of equal ones."""
        if self.ranks.size == 1:
            return token_ids
        # One message: ids are exact in float64, and so are float32 values.
        gathered = self.ranks.gather(torch.stack((values.double(), token_ids.double())))
        winner = gathered[:, 0].argmax(0)
        return gathered[:, 1].gather(0, winner.unsqueeze(0)).squeeze(0).long()
