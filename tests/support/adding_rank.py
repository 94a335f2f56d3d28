"""A rank in a process of its own that only adds; imported there, so without what makes checkpoints."""

from typing import Any

import torch

from llama4coder.parallel.group import join
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.parallel.meeting import Meeting
from llama4coder.parallel.plan import RankPlan
from llama4coder.shape import ModelShape
from tests.support.process_group import LOOPBACK

CPU = torch.device("cpu")


def meet_and_sum(pipe: Any, meeting: Meeting, shape: ModelShape, layout: ParallelLayout, rank: int) -> None:
    """A rank that says what its groups are, then adds until somebody is missing."""
    share = join(meeting, RankPlan(shape, layout, rank), LOOPBACK, CPU, 30.0)
    mine = torch.tensor([float(rank)])
    pipe.send(
        (share.ranks.index, share.ranks.size, share.kv_ranks.index, share.kv_ranks.gather(mine).flatten().tolist())
    )
    try:
        while True:
            share.ranks.sum(torch.ones(4))
    except RuntimeError:
        pipe.send("lost")
