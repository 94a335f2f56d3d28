"""The host memory behind the host tier on one rank, and the copying of blocks to it and back."""

from collections.abc import Sequence

import torch
from torch import Tensor

from llama4coder.errors import NotEnoughMemory
from llama4coder.gpu.transfer import indices
from llama4coder.kv.host_tier import BlockMove
from llama4coder.kv.sizing import num_staged_blocks
from llama4coder.parallel.layout import Part

_WORD = torch.int32  # blocks of every format are whole numbers of these


class HostBlocks:
    """Copies of whole blocks, all layers of one together, `[num_slots, words_per_block]`; pinned beside a GPU.

    A move of many layers' scattered pieces would be many small copies over the bus: they are gathered on the device in
    a buffer of fixed size, and cross as one copy per block. On a GPU everything is given to the current stream, so that
    it comes after the steps before and before those after; nothing waits. Memory is taken when this is made, and none
    later.

    Raises:
        NotEnoughMemory: the driver cannot pin so much.
    """

    def __init__(self, per_block: Sequence[Tensor], num_slots: int, shard: Part) -> None:
        self._pieces = [tensor.view(len(tensor), -1).view(_WORD) for tensor in per_block]
        self._shard = shard
        words_per_block = sum(piece.shape[1] for piece in self._pieces)
        device = self._pieces[0].device
        self._slots = torch.zeros(num_slots, words_per_block, dtype=_WORD)
        if device.type == "cuda":
            _pin(self._slots)
        num_staged = min(num_slots, num_staged_blocks(words_per_block * _WORD.itemsize))
        self._staged = torch.empty(num_staged, words_per_block, dtype=_WORD, device=device)

    def save(self, moves: Sequence[BlockMove]) -> None:
        """Copy blocks that this rank's shard holds to their slots."""
        for batch in self._batches(moves):
            block_places = self._block_places(batch)
            for piece, staged in zip(self._pieces, self._staged_pieces(len(batch)), strict=True):
                torch.index_select(piece, 0, block_places, out=staged)
            for move, staged in zip(batch, self._staged, strict=False):
                self._slots[self._slot_place(move)].copy_(staged, non_blocking=True)

    def load(self, moves: Sequence[BlockMove]) -> None:
        """Copy slots back into blocks; no block twice."""
        for batch in self._batches(moves):
            for move, staged in zip(batch, self._staged, strict=False):
                staged.copy_(self._slots[self._slot_place(move)], non_blocking=True)
            block_places = self._block_places(batch)
            for piece, staged in zip(self._pieces, self._staged_pieces(len(batch)), strict=True):
                piece.index_copy_(0, block_places, staged)

    def _batches(self, moves: Sequence[BlockMove]) -> list[list[BlockMove]]:
        ours = [move for move in moves if move.block_id % self._shard.count == self._shard.index]
        return [ours[first : first + len(self._staged)] for first in range(0, len(ours), len(self._staged))]

    def _staged_pieces(self, num_blocks: int) -> Sequence[Tensor]:
        return torch.split(self._staged[:num_blocks], [piece.shape[1] for piece in self._pieces], dim=1)

    def _block_places(self, moves: Sequence[BlockMove]) -> Tensor:
        return indices([move.block_id // self._shard.count for move in moves], self._staged.device)

    def _slot_place(self, move: BlockMove) -> int:
        return move.slot_id // self._shard.count


def _pin(memory: Tensor) -> None:
    """As it is: torch's own allocator of pinned memory rounds up to a power of two."""
    driver = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    failure = int(driver.cudaHostRegister(memory.data_ptr(), memory.nbytes, 0))
    if failure:
        raise NotEnoughMemory(
            f"{memory.nbytes / 2**30:.2f} GiB of host memory could not be pinned for KV blocks (CUDA error {failure}): "
            "lower engine.host_memory_bytes"
        )
