"""Attention over KV that several ranks hold: each attends to its own, and merges some of the features of all."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from llama4coder.attention.backend import ShardableAttention, ShardAttention
from llama4coder.attention.batch import StepLayout
from llama4coder.attention.merge import AttentionOutput
from llama4coder.kv.tensors import LayerKV
from llama4coder.layers.rope import Rotation
from llama4coder.parallel.comm import Communicator
from llama4coder.parallel.plan import RankPlan
from llama4coder.parallel.share import RankShare


@dataclass(frozen=True, slots=True)
class ShardedAttention:
    """Implements `attention.backend.AttentionBackend`; what is returned are the features of `RankPlan.attended` alone.

    All ranks of the KV group attend the same tokens, each to the keys of its shard. One message per layer carries every
    rank's part of every rank's features.
    """

    backend: ShardableAttention
    pieces: "FeaturePieces"
    comm: Communicator  # of the ranks that hold the same heads

    @classmethod
    def of(cls, backend: ShardableAttention, share: RankShare) -> "ShardedAttention":
        return cls(backend, FeaturePieces.of(share.plan), share.kv_ranks)

    def prepare(self, layout: StepLayout) -> "ShardedStepAttention":
        """See `AttentionBackend.prepare`."""
        return ShardedStepAttention(self, self.backend.prepare_shard(layout))


@dataclass(frozen=True, slots=True)
class ShardedStepAttention:
    """See `attention.backend.StepAttention`."""

    attention: ShardedAttention
    shard: ShardAttention

    def __call__(self, qkv: Tensor, rotation: Rotation, kv: LayerKV) -> Tensor:
        pieces, comm = self.attention.pieces, self.attention.comm
        received = comm.exchange(pieces.by_rank(self.shard(qkv, rotation, kv)))
        parts = received[:, :, : len(pieces.shares[comm.index])]
        return self.attention.backend.merge(parts[..., :-1], parts[..., -1]).out.flatten(1).to(qkv.dtype)


@dataclass(frozen=True, slots=True)
class FeaturePieces:
    """The features of a rank's heads in pieces so small that each lies in one head and goes to one rank.

    A rank's share of the features may begin or end inside a head; a piece is merged as if it were a head of its own.
    """

    size: int  # features of a piece
    per_head: int
    shares: tuple[range, ...]  # of the pieces, by rank

    @classmethod
    def of(cls, plan: RankPlan) -> "FeaturePieces":
        ranks = plan.layout.kv_group(plan.rank)
        attended = [RankPlan(plan.shape, plan.layout, rank).attended for rank in ranks]
        size = math.gcd(plan.shape.head_dim, *(share.start for share in attended), *(share.stop for share in attended))
        shares = tuple(range(share.start // size, share.stop // size) for share in attended)
        return cls(size, plan.shape.head_dim // size, shares)

    def by_rank(self, part: AttentionOutput) -> Tensor:
        """`[num_ranks, num_tokens, most pieces of a rank, size + 1]`: of each piece its features, then its LSE."""
        out = part.out.view(len(part.out), -1, self.size)
        lse = part.lse.repeat_interleave(self.per_head, dim=1)
        pieces = torch.cat((out, lse.unsqueeze(-1)), dim=-1)
        by_rank = pieces.new_zeros(len(self.shares), len(pieces), max(map(len, self.shares)), self.size + 1)
        for rank, share in enumerate(self.shares):
            by_rank[rank, :, : len(share)] = pieces[:, share.start : share.stop]
        return by_rank
