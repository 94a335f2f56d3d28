"""Which sums leave NCCL, and for which groups; the kernel itself needs several GPUs."""

from typing import Any
from unittest.mock import Mock

import pytest
import torch

from llama4coder.parallel import symmetric
from llama4coder.parallel.symmetric import MAX_BYTES, SymmetricGroup, choose_group, is_small

CUDA = torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("size", "dtype", "expected"),
    [
        ((16, 8192), torch.bfloat16, True),
        ((17, 8192), torch.bfloat16, False),
        ((MAX_BYTES // 4,), torch.float32, True),
        ((MAX_BYTES // 4 + 4,), torch.float32, False),
        ((8,), torch.bfloat16, True),
        ((7,), torch.bfloat16, False),
        ((0, 64), torch.float32, False),
        ((64,), torch.float16, False),
        ((64,), torch.int64, False),
    ],
)
def test_small_sums_of_whole_vectors(size: tuple[int, ...], dtype: torch.dtype, expected: bool) -> None:
    assert is_small(torch.empty(size, dtype=dtype)) is expected


class Ranks:
    """In place of a `TorchGroup` over GPUs; of its `size` ranks so many have shared a buffer."""

    def __init__(self, size: int, num_shared: int) -> None:
        self.size = size
        self.group = Mock(group_name="0")
        self._num_shared = num_shared

    def sum(self, x: torch.Tensor) -> torch.Tensor:
        return torch.full_like(x, self._num_shared)


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Torch's part, which succeeds here unless told otherwise."""
    torch_part = Mock()
    monkeypatch.setattr(symmetric, "symmetric_memory", torch_part)
    tensor = torch.tensor
    monkeypatch.setattr(torch, "tensor", lambda data, device: tensor(data))  # there is no such device here
    return torch_part


def chosen(ranks: Ranks, device: torch.device = CUDA, *, is_one_node: bool = True) -> object:
    group: Any = ranks
    return choose_group(group, device, is_one_node=is_one_node)


@pytest.mark.parametrize("size", [2, 4, 8])
def test_gpus_of_one_node_share_memory(shared: Mock, size: int) -> None:
    group = chosen(Ranks(size, num_shared=size))
    assert isinstance(group, SymmetricGroup)
    assert group.buffer is shared.empty.return_value
    shared.rendezvous.assert_called_once()


@pytest.mark.parametrize(
    ("size", "device", "is_one_node"),
    [(3, CUDA, True), (16, CUDA, True), (4, CUDA, False), (4, torch.device("cpu"), True)],
)
def test_other_groups_stay_as_they_are(shared: Mock, size: int, device: torch.device, is_one_node: bool) -> None:
    ranks = Ranks(size, num_shared=size)
    assert chosen(ranks, device, is_one_node=is_one_node) is ranks
    shared.empty.assert_not_called()


def test_all_ranks_choose_the_same_when_one_cannot_share(shared: Mock) -> None:
    others_failed = Ranks(4, num_shared=3)
    assert chosen(others_failed) is others_failed
    shared.rendezvous.side_effect = RuntimeError("no peer access")
    this_failed = Ranks(4, num_shared=3)
    assert chosen(this_failed) is this_failed
