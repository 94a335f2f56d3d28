"""What the ranks of a replica say to each other inside a step."""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor


class Communicator(Protocol):
    """A group of ranks that compute one step together.

    Every rank makes the same calls in the same order with tensors of the same size and dtype; each call returns on a
    rank when its result is there. A rank that fails or stays away makes the others' calls raise `RuntimeError` within
    the group's timeout.
    """

    @property
    def index(self) -> int:
        """This rank's place in the group."""
        ...

    @property
    def size(self) -> int: ...

    def sum(self, x: Tensor) -> Tensor:
        """The sum over all ranks of `x`, which may be overwritten; the same bits on every rank."""
        ...

    def gather(self, x: Tensor) -> Tensor:
        """`[size, *x.shape]`: every rank's `x`, by rank."""
        ...

    def exchange(self, x: Tensor) -> Tensor:
        """`[size, ...]`: of every rank's `x` `[size, ...]` the part at this rank's place."""
        ...


class Alone:
    """A group of one."""

    index = 0
    size = 1

    def sum(self, x: Tensor) -> Tensor:
        """See `Communicator.sum`."""
        return x

    def gather(self, x: Tensor) -> Tensor:
        """See `Communicator.gather`."""
        return x.unsqueeze(0)

    def exchange(self, x: Tensor) -> Tensor:
        """See `Communicator.exchange`."""
        return x


@dataclass(frozen=True, slots=True)
class TorchGroup:
    """Implements `Communicator` with torch.distributed: Gloo between CPUs, NCCL between GPUs."""

    group: dist.ProcessGroup

    @property
    def index(self) -> int:
        return self.group.rank()

    @property
    def size(self) -> int:
        return self.group.size()

    def sum(self, x: Tensor) -> Tensor:
        """See `Communicator.sum`."""
        x = x.contiguous()
        dist.all_reduce(x, group=self.group)
        return x

    def gather(self, x: Tensor) -> Tensor:
        """See `Communicator.gather`."""
        gathered = x.new_empty(self.size, *x.shape)
        dist.all_gather_single(gathered.view(-1), x.contiguous().view(-1), group=self.group)
        return gathered

    def exchange(self, x: Tensor) -> Tensor:
        """See `Communicator.exchange`."""
        received = torch.empty_like(x, memory_format=torch.contiguous_format)
        dist.all_to_all_single(received, x.contiguous(), group=self.group)
        return received
