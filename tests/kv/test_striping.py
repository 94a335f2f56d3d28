"""Which shard holds which token, against the definition: block i lies on shard i mod count."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.kv.striping import NOWHERE, num_held, nums_held, places_held, slots_of
from llama4coder.parallel.layout import Part

TABLE = np.random.default_rng(0).permutation(40).reshape(2, 20)
parts = st.integers(1, 5).flatmap(lambda count: st.builds(Part, st.integers(0, count - 1), st.just(count)))


def is_held(position: int, shard: Part) -> bool:
    return position // BLOCK_SIZE % shard.count == shard.index


@settings(deadline=None)
@given(num_tokens=st.integers(0, 500), shard=parts)
def test_tokens_of_a_beginning(num_tokens: int, shard: Part) -> None:
    expected = sum(is_held(position, shard) for position in range(num_tokens))
    assert num_held(num_tokens, shard) == expected
    assert nums_held(np.array([num_tokens, 0]), shard).tolist() == [expected, 0]


@settings(deadline=None)
@given(num_blocks=st.integers(0, 12), shard=parts)
def test_blocks_have_different_places_on_their_shard(num_blocks: int, shard: Part) -> None:
    """Block ids are handed out so that block i of a sequence has an id that is i mod count."""
    block_ids = [100 * shard.count + index for index in range(num_blocks)]
    expected = [100 + index // shard.count for index in range(num_blocks) if index % shard.count == shard.index]
    assert places_held(block_ids, shard) == expected


@settings(deadline=None)
@given(shard=parts, data=st.data())
def test_slots_of_tokens(shard: Part, data: st.DataObject) -> None:
    last = TABLE.shape[1] * shard.count * BLOCK_SIZE - 1
    tokens = data.draw(st.lists(st.tuples(st.integers(0, 1), st.integers(0, last)), max_size=8))
    rows, positions = (np.array([token[axis] for token in tokens], dtype=np.int64) for axis in (0, 1))
    slots = slots_of(positions, rows, TABLE, shard)
    for (row, position), slot in zip(tokens, slots.tolist(), strict=True):
        if is_held(position, shard):
            assert slot // BLOCK_SIZE == TABLE[row, position // BLOCK_SIZE // shard.count]
            assert slot % BLOCK_SIZE == position % BLOCK_SIZE
        else:
            assert slot == NOWHERE
