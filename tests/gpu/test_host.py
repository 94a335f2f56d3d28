"""Blocks on their way to pinned memory and back, none of which the host waits for."""

import pytest
import torch

from llama4coder.kv import host
from llama4coder.kv.host import HostBlocks
from llama4coder.kv.host_tier import BlockMove
from llama4coder.parallel.layout import Part

NUM_BLOCKS = 64


def test_moves_and_rows_that_follow_each_other_see_each_other(
    device: torch.device, half: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every slot is saved to, loaded from and saved to again while the copies before are still on their way."""
    monkeypatch.setattr(host, "num_staged_blocks", lambda block_bytes: 5)
    tensors = [torch.zeros(NUM_BLOCKS, 16, 8, 128, dtype=half, device=device) for _ in range(4)]
    tensors += [torch.zeros(NUM_BLOCKS, 8, device=device)]
    subject = HostBlocks(tensors, num_slots=8, shard=Part(0, 1))
    first, second = range(8), range(32, 40)
    for step in range(20):
        for number, tensor in enumerate(tensors):
            tensor[:8] = step + number  # what rows would write
        subject.save([BlockMove(block, block) for block in first])
        for tensor in tensors:
            tensor[:8] = -1
        subject.load([BlockMove(block, slot) for block, slot in zip(second, first, strict=True)])
        for tensor in tensors:
            tensor[40 + step] = tensor[39]
    for number, tensor in enumerate(tensors):
        assert tensor[40:60].flatten(1).float().amax(1).tolist() == [step + number for step in range(20)]
        assert tensor[40:60].flatten(1).float().amin(1).tolist() == [step + number for step in range(20)]
