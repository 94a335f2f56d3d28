"""Names for the content of KV blocks: a block's hash covers its tokens, all tokens before it, and the tenant's salt."""

import hashlib
import struct
from collections.abc import Sequence

BlockHash = bytes

_ROOT: BlockHash = b"llama4coder"
_DIGEST_BYTES = 16  # 128 bits: no accidental or crafted collision can hand out another prompt's KV


def root_hash(salt: str) -> BlockHash:
    """What the chain of a sequence begins from: names under different salts have nothing in common."""
    if not salt:
        return _ROOT
    # Under `person` no salt, however it is chosen, makes the hash of a block of tokens.
    return hashlib.blake2b(
        salt.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES, key=_ROOT, person=b"salt"
    ).digest()


def block_hash(parent: BlockHash, token_ids: Sequence[int]) -> BlockHash:
    """The hash of a full block that follows the one named `parent`, or begins a sequence whose root that is."""
    packed = struct.pack(f"<{len(token_ids)}I", *token_ids)
    return hashlib.blake2b(packed, digest_size=_DIGEST_BYTES, key=parent).digest()


def extend_hashes(hashes: list[BlockHash], token_ids: Sequence[int], block_size: int, salt: str = "") -> None:
    """Append to `hashes` those of the full blocks of `token_ids` that it does not yet name; the salt stays the same."""
    for index in range(len(hashes), len(token_ids) // block_size):
        block = token_ids[index * block_size : (index + 1) * block_size]
        hashes.append(block_hash(hashes[-1] if hashes else root_hash(salt), block))
