"""Sums of small tensors between the GPUs of one node in one kernel: each rank reads what all others have.

It takes the place of NCCL's all-reduce, whose latency is most of what a small sum costs, and can be recorded in a CUDA
graph. It has not been run on GPUs yet: what is tested is which sums come here, and what becomes of all others.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.distributed import _symmetric_memory as symmetric_memory  # torch's only door to it

from llama4coder.parallel.comm import Communicator, TorchGroup

MAX_BYTES = 256 * 2**10  # of larger tensors each rank would read too much
_SIZES = (2, 4, 8)  # for these the kernel adds in the order of ranks, so that all of them get the same bits
_DTYPES = (torch.bfloat16, torch.float32)
_ALIGNMENT_BYTES = 16

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SymmetricGroup:
    """Implements `Communicator`: small sums by `one_shot`, all else by `group`.

    A small sum waits on the GPU for a rank that stays away, without a timeout; the replica notices, and ends its ranks.
    """

    group: Communicator
    buffer: Tensor  # [MAX_BYTES] uint8 that all ranks can read
    one_shot: Callable[[Tensor, Tensor], Tensor]  # the sum over ranks of its second argument, by way of the first

    @property
    def index(self) -> int:
        return self.group.index

    @property
    def size(self) -> int:
        return self.group.size

    def sum(self, x: Tensor) -> Tensor:
        """See `Communicator.sum`."""
        if not is_small(x):
            return self.group.sum(x)
        return self.one_shot(self.buffer[: x.nbytes].view(x.dtype).view(x.shape), x.contiguous())

    def gather(self, x: Tensor) -> Tensor:
        """See `Communicator.gather`."""
        return self.group.gather(x)

    def exchange(self, x: Tensor) -> Tensor:
        """See `Communicator.exchange`."""
        return self.group.exchange(x)


def is_small(x: Tensor) -> bool:
    """Whether the kernel can sum `x`, and is the faster way."""
    return x.dtype in _DTYPES and 0 < x.nbytes <= MAX_BYTES and x.nbytes % _ALIGNMENT_BYTES == 0


def choose_group(group: TorchGroup, device: torch.device, *, is_one_node: bool) -> Communicator:
    """`group` with small sums in one kernel where all its GPUs can read each other's memory, else as it is.

    Every rank calls it, and all choose the same.
    """
    if device.type != "cuda" or group.size not in _SIZES or not is_one_node:
        return group
    buffer = _share_buffer(group, device)
    succeeded = group.sum(torch.tensor([int(buffer is not None)], device=device))
    if buffer is None or succeeded.item() < group.size:
        return group
    return SymmetricGroup(group, buffer, partial(_one_shot, group.group.group_name))


def _share_buffer(group: TorchGroup, device: torch.device) -> Tensor | None:
    try:
        buffer = symmetric_memory.empty(MAX_BYTES, dtype=torch.uint8, device=device)
        symmetric_memory.rendezvous(buffer, group.group)
    except RuntimeError as error:
        _log.warning("small sums go through NCCL: no symmetric memory (%s)", error)
        return None
    return buffer


def _one_shot(group_name: str, room: Tensor, x: Tensor) -> Tensor:
    total: Tensor = torch.ops.symm_mem.one_shot_all_reduce_copy(room, x, "sum", group_name)
    return total
