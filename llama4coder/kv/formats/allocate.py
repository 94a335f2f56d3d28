"""The whole KV memory of a rank."""

from collections.abc import Callable

from llama4coder.config import KVFormat
from llama4coder.kv.formats.fp8 import Fp8Blocks
from llama4coder.kv.formats.int4 import Int4Blocks
from llama4coder.kv.formats.int8 import Int8KV
from llama4coder.kv.formats.tail import TailedKV, TailSize
from llama4coder.kv.tensors import DenseKV, LayerKV
from llama4coder.models.weights import Placement
from llama4coder.parallel.plan import RankPlan


def allocate_kv(
    plan: RankPlan, num_blocks: int, placement: Placement, kv_format: KVFormat, tails: TailSize
) -> list[LayerKV]:
    """Take all of it at once, layer by layer; nothing allocates KV after that (design section 7)."""
    make = _layer_maker(plan, num_blocks, placement, kv_format, tails)
    return [make() for _ in range(plan.shape.num_layers)]


def _layer_maker(
    plan: RankPlan, num_blocks: int, placement: Placement, kv_format: KVFormat, tails: TailSize
) -> Callable[[], LayerKV]:
    dtype, device = placement.dtype, placement.device

    def dense() -> LayerKV:
        return DenseKV.allocate(plan, num_blocks, dtype, device)

    def int8() -> LayerKV:
        return Int8KV.allocate(plan, num_blocks, dtype, device)

    def fp8() -> LayerKV:
        return TailedKV.allocate(Fp8Blocks.allocate(plan, num_blocks, dtype, device), plan, tails, dtype, device)

    def int4() -> LayerKV:
        return TailedKV.allocate(Int4Blocks.allocate(plan, num_blocks, dtype, device), plan, tails, dtype, device)

    return {"dense": dense, "int8": int8, "fp8": fp8, "int4": int4}[kv_format]
