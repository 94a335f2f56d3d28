"""Blocks of several kinds of tensors go to host memory and come back as they were, on whichever shard they lie."""

from collections.abc import Sequence
from typing import get_args

import pytest
import torch
from torch import Tensor

from llama4coder.config import KVFormat
from llama4coder.errors import NotEnoughMemory
from llama4coder.kv import host
from llama4coder.kv.formats.allocate import allocate_kv
from llama4coder.kv.formats.tail import TailSize
from llama4coder.kv.host import HostBlocks
from llama4coder.kv.host_tier import BlockMove
from llama4coder.kv.sizing import STAGING_BYTES, kv_bytes_per_block, num_staged_blocks
from llama4coder.models.weights import Placement
from llama4coder.parallel.layout import ParallelLayout, Part
from llama4coder.parallel.plan import RankPlan
from tests.support.shapes import TINY

NUM_BLOCKS = 6
WHOLE = Part(0, 1)


def random_tensors() -> list[Tensor]:
    """As dense and compressed formats have them: other types, other sizes, one number per block and head."""
    return [
        torch.randn(NUM_BLOCKS, 16, 2, 8).bfloat16(),
        torch.randn(NUM_BLOCKS, 16, 2, 8),
        torch.randint(-128, 128, (NUM_BLOCKS, 16, 1, 8), dtype=torch.int8),
        torch.randn(NUM_BLOCKS, 16, 2, 8).to(torch.float8_e4m3fn),
        torch.randn(NUM_BLOCKS, 1),
        torch.randn(NUM_BLOCKS),
    ]


def copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.clone() for tensor in tensors]


def same(tensor: Tensor, other: Tensor) -> bool:
    return torch.equal(tensor.view(torch.uint8), other.view(torch.uint8))


@pytest.fixture(params=[False, True], ids=["at-once", "in-batches"])
def staging(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param:
        monkeypatch.setattr(host, "num_staged_blocks", lambda block_bytes: 2)


@pytest.mark.usefixtures("staging")
def test_blocks_come_back_as_they_were_to_others() -> None:
    tensors = random_tensors()
    before = copies(tensors)
    subject = HostBlocks(tensors, num_slots=4, shard=WHOLE)
    subject.save([BlockMove(5, 0), BlockMove(0, 3), BlockMove(2, 1)])
    assert all(same(tensor, old) for tensor, old in zip(tensors, before, strict=True)), "saving changes nothing"
    for tensor in tensors:
        tensor.zero_()
    subject.load([BlockMove(1, 1), BlockMove(4, 0), BlockMove(3, 3)])
    sources = {1: 2, 4: 5, 3: 0}
    for tensor, old in zip(tensors, before, strict=True):
        for block in range(NUM_BLOCKS):
            expected = old[sources[block]] if block in sources else torch.zeros_like(old[block])
            assert same(tensor[block : block + 1], expected[None])


@pytest.mark.usefixtures("staging")
def test_a_slot_is_loaded_again_until_it_is_saved_to_again() -> None:
    (tensor,) = tensors = [torch.arange(NUM_BLOCKS * 4.0).view(NUM_BLOCKS, 4)]
    subject = HostBlocks(tensors, num_slots=1, shard=WHOLE)
    subject.save([BlockMove(3, 0)])
    subject.load([BlockMove(1, 0)])
    subject.load([BlockMove(0, 0)])
    assert torch.equal(tensor[0], tensor[3]) and torch.equal(tensor[1], tensor[3])
    subject.save([BlockMove(2, 0)])
    subject.load([BlockMove(0, 0)])
    assert torch.equal(tensor[0], tensor[2])


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_rank_copies_what_its_shard_holds(index: int) -> None:
    """Of 18 blocks and 9 slots on three shards; the others' are left alone."""
    (tensor,) = tensors = [torch.arange(1.0, NUM_BLOCKS + 1)]
    subject = HostBlocks(tensors, num_slots=3, shard=Part(index, 3))
    moves = [BlockMove(3 * 4 + shard, 3 * 2 + shard) for shard in range(3)]
    subject.save(moves)
    subject.load([BlockMove(3 * 1 + shard, 3 * 2 + shard) for shard in range(3)])
    assert tensor.tolist() == [1, 5, 3, 4, 5, 6]
    subject.save([move for move in moves if move.block_id % 3 != index])


@pytest.mark.parametrize("kv_format", get_args(KVFormat))
def test_a_block_takes_on_the_host_what_sizing_says(kv_format: KVFormat) -> None:
    plan, placement = RankPlan(TINY, ParallelLayout(2, 1), 0), Placement(torch.bfloat16, torch.device("cpu"))
    layers = allocate_kv(plan, NUM_BLOCKS, placement, kv_format, TailSize(1, 16))
    subject = HostBlocks([tensor for layer in layers for tensor in layer.per_block], num_slots=5, shard=WHOLE)
    assert subject._slots.nbytes == 5 * kv_bytes_per_block(plan, "bfloat16", kv_format)
    assert len(subject._staged) == 5, "no more than can move at once"


def test_staging_is_bounded_and_holds_a_block_at_least() -> None:
    assert num_staged_blocks(STAGING_BYTES // 4) == 4
    assert num_staged_blocks(STAGING_BYTES + 1) == 1


@pytest.mark.parametrize(("failure", "is_refused"), [(0, False), (2, True)])
def test_memory_that_the_driver_does_not_pin_is_refused_with_numbers(
    monkeypatch: pytest.MonkeyPatch, failure: int, is_refused: bool
) -> None:
    class Driver:
        def cudaHostRegister(self, address: int, num_bytes: int, flags: int) -> int:
            assert (address, num_bytes, flags) == (memory.data_ptr(), 64 * 4, 0)
            return failure

    memory = torch.zeros(4, 16)
    monkeypatch.setattr("torch.cuda.cudart", Driver)
    if not is_refused:
        host._pin(memory)
        return
    with pytest.raises(NotEnoughMemory, match=r"0\.00 GiB .*error 2.*lower engine\.host_memory_bytes"):
        host._pin(memory)
