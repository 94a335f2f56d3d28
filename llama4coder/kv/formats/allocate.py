"""The whole KV memory of a rank."""

from collections.abc import Callable
from dataclasses import dataclass

from llama4coder.config import KVFormat
from llama4coder.kv.formats.bounds import BoundedBlocks, BoundedKV, KeyBounds
from llama4coder.kv.formats.fp8 import Fp8Blocks
from llama4coder.kv.formats.int4 import Int4Blocks
from llama4coder.kv.formats.int8 import Int8KV
from llama4coder.kv.formats.tail import BlockwiseKV, TailedKV, TailSize
from llama4coder.kv.tensors import DenseKV, LayerKV, TokenwiseKV
from llama4coder.models.weights import Placement
from llama4coder.parallel.plan import RankPlan


def allocate_kv(
    plan: RankPlan,
    num_blocks: int,
    placement: Placement,
    kv_format: KVFormat,
    tails: TailSize,
    block_bounds: bool = False,
) -> list[LayerKV]:
    """Take all of it at once, layer by layer; nothing allocates KV after that (design section 7)."""
    make = _layer_maker(_Room(plan, num_blocks, placement, block_bounds), kv_format, tails)
    return [make() for _ in range(plan.shape.num_layers)]


@dataclass(frozen=True, slots=True)
class _Room:
    """Where the blocks of a layer are, and whether their bounds are kept."""

    plan: RankPlan
    num_blocks: int
    placement: Placement
    block_bounds: bool

    def tokenwise(self, kv: TokenwiseKV) -> LayerKV:
        return BoundedKV(kv, self._bounds()) if self.block_bounds else kv

    def blockwise(self, blocks: BlockwiseKV, tails: TailSize) -> LayerKV:
        bounded = BoundedBlocks(blocks, self._bounds()) if self.block_bounds else blocks
        return TailedKV.allocate(bounded, self.plan, tails, self.placement.dtype, self.placement.device)

    def _bounds(self) -> KeyBounds:
        return KeyBounds.allocate(self.plan, self.num_blocks, self.placement.dtype, self.placement.device)


def _layer_maker(room: _Room, kv_format: KVFormat, tails: TailSize) -> Callable[[], LayerKV]:
    of = (room.plan, room.num_blocks, room.placement.dtype, room.placement.device)
    makers: dict[KVFormat, Callable[[], LayerKV]] = {
        "dense": lambda: room.tokenwise(DenseKV.allocate(*of)),
        "int8": lambda: room.tokenwise(Int8KV.allocate(*of)),
        "fp8": lambda: room.blockwise(Fp8Blocks.allocate(*of), tails),
        "int4": lambda: room.blockwise(Int4Blocks.allocate(*of), tails),
    }
    return makers[kv_format]
