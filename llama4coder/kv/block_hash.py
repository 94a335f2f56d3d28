"""Names for the content of KV blocks: a block's hash covers its tokens and all tokens before it."""

import hashlib
import struct
from collections.abc import Sequence

BlockHash = bytes

_ROOT: BlockHash = b"llama4coder"
_DIGEST_BYTES = 16  # 128 bits: no accidental or crafted collision can hand out another prompt's KV


def block_hash(parent: BlockHash | None, token_ids: Sequence[int]) -> BlockHash:
    """The hash of a full block that follows the block named `parent`, or begins a sequence if that is None."""
    packed = struct.pack(f"<{len(token_ids)}I", *token_ids)
    return hashlib.blake2b(packed, digest_size=_DIGEST_BYTES, key=parent or _ROOT).digest()


def extend_hashes(hashes: list[BlockHash], token_ids: Sequence[int], block_size: int) -> None:
    """Append to `hashes` those of the full blocks of `token_ids` that it does not yet name."""
    for index in range(len(hashes), len(token_ids) // block_size):
        block = token_ids[index * block_size : (index + 1) * block_size]
        hashes.append(block_hash(hashes[-1] if hashes else None, block))
