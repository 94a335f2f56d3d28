"""A step's tokens over KV whose blocks are compressed when they are full: see `kv.formats.tail`."""

from dataclasses import dataclass

from llama4coder.gpu.metadata import AttentionMetadata
from llama4coder.gpu.pool import Arguments, Pool
from llama4coder.gpu.seal_kernels import seal_blocks_kernel
from llama4coder.gpu.tail_kernels import keep_last_kernel
from llama4coder.gpu.tiles import next_power_of_two, rows_at_once, warps_for
from llama4coder.kv.formats.tail import TailedKV
from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.kv.tensors import DenseKV


@dataclass(frozen=True, slots=True)
class Recent:
    """The last tokens of all sequences, dense: in `tail` those before the step, in `fresh` those of the step."""

    tail: DenseKV
    fresh: DenseKV  # each [num_tokens, num_kv_heads, head_dim]

    @property
    def arguments(self) -> Arguments:
        """Fresh keys and values, and the tails'."""
        return self.fresh.keys, self.fresh.values, self.tail.keys, self.tail.values

    @property
    def tail_tokens(self) -> int:
        return self.tail.keys.shape[1]


def seal_blocks(kv: TailedKV, recent: Recent, metadata: AttentionMetadata) -> None:
    """Compress every block that the step makes full; to do before anything attends."""
    pool = Pool.of(kv)
    num_tokens, num_kv_heads, head_dim = recent.fresh.keys.shape
    num_rows = len(metadata.lengths)
    seal_blocks_kernel[num_tokens // BLOCK_SIZE + num_rows, num_kv_heads](
        *pool.arguments,
        *recent.arguments,
        metadata.query_starts,
        metadata.lengths,
        metadata.tables,
        metadata.new_from,
        metadata.table_rows,
        metadata.tables.stride(0),
        num_rows,
        metadata.shard.index,
        HALF=head_dim // 2,
        BLOCK_HALF=next_power_of_two(head_dim // 2),
        BLOCK_ROWS=rows_at_once(num_rows),
        KV_BLOCK=BLOCK_SIZE,
        FORMAT=pool.format,
        TAIL_TOKENS=recent.tail_tokens,
        NUM_SHARDS=metadata.shard.count,
        num_warps=4,
    )


def keep_last(recent: Recent, metadata: AttentionMetadata) -> None:
    """Put the step's last tokens into the tails; to do when nothing reads these any more."""
    width = recent.fresh.keys[0].numel()
    keep_last_kernel[len(metadata.lengths), min(recent.tail_tokens, metadata.max_query_tokens)](
        recent.tail.keys,
        recent.tail.values,
        recent.fresh.keys,
        recent.fresh.values,
        metadata.query_starts,
        metadata.lengths,
        metadata.new_from,
        metadata.table_rows,
        WIDTH=width,
        BLOCK=next_power_of_two(width),
        TAIL_TOKENS=recent.tail_tokens,
        num_warps=warps_for(next_power_of_two(width)),
    )
