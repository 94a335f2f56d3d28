"""The choice of blocks by itself; what comes of it is in `sparse_contract`."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llama4coder.attention.batch import RowSpan, StepLayout
from llama4coder.attention.selection import BlockChoice, highest_scores, select_blocks
from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.kv.sparsity import Sparsity

NUM_BLOCKS = 20


def choice_of(row: RowSpan) -> BlockChoice:
    layout = StepLayout((row,), torch.arange(row.num_tokens), np.arange(NUM_BLOCKS)[None])
    choice = BlockChoice.of(row, layout)
    assert choice is not None
    return choice


def test_no_key_scores_higher_than_its_block_may() -> None:
    keys, queries = torch.randn(NUM_BLOCKS, BLOCK_SIZE, 2, 8), torch.randn(5, 6, 8)
    bounds = torch.stack((keys.amin(1), keys.amax(1)), dim=2)
    products = torch.einsum("tkgd,bskd->tkgbs", queries.view(5, 2, 3, 8), keys)
    assert (products.amax(4).sum(2) <= highest_scores(queries, bounds) + 1e-5).all()


def test_of_keys_that_are_all_the_same_the_bound_is_the_score() -> None:
    key, queries = torch.randn(1, 1, 2, 8), torch.randn(5, 6, 8)
    exact = torch.einsum("tkgd,kd->tkg", queries.view(5, 2, 3, 8), key[0, 0]).sum(2)
    bounds = torch.stack((key.amin(1), key.amax(1)), dim=2)
    torch.testing.assert_close(highest_scores(queries, bounds)[..., 0], exact)


@settings(deadline=None)
@given(start=st.integers(0, 300), num_tokens=st.integers(1, 20), top_blocks=st.integers(4, 20), data=st.data())
def test_the_first_the_last_and_the_best_are_read(
    start: int, num_tokens: int, top_blocks: int, data: st.DataObject
) -> None:
    row = RowSpan(0, num_tokens, start, 0, Sparsity.of(100, top_blocks))
    if not row.num_sparse:
        return
    choice = choice_of(row)
    scores = torch.tensor(
        data.draw(st.lists(st.integers(0, 3), min_size=NUM_BLOCKS, max_size=NUM_BLOCKS)), dtype=torch.float32
    )[: len(choice.block_ids)].expand(num_tokens, 1, -1)
    read = select_blocks(scores, choice.seen, choice.always, choice.limits)[:, 0]
    for offset, blocks in enumerate(read.tolist()):
        own = (start + offset) // BLOCK_SIZE
        chosen = [block for block, is_read in enumerate(blocks) if is_read]
        assert chosen[0] == 0 and chosen[-1] == own and own - 1 in chosen
        if offset < num_tokens - row.num_sparse:
            assert len(chosen) == own + 1
            continue
        assert len(chosen) == min(top_blocks, own + 1)
        best, others = chosen[1:-2], set(range(1, own - 1)) - set(chosen)
        keys = [(-scores[offset, 0, block].item(), block) for block in best]
        assert all(key < (-scores[offset, 0, other].item(), other) for key in keys for other in others)


def test_more_blocks_keep_all_that_fewer_keep() -> None:
    row = RowSpan(0, 9, 300, 0, Sparsity(0, 4))
    queries, keys = torch.randn(9, 4, 8), torch.randn(NUM_BLOCKS, BLOCK_SIZE, 2, 8)
    bounds = torch.stack((keys.amin(1), keys.amax(1)), dim=2)
    left_out = [
        choice_of(replace(row, sparsity=Sparsity(0, number))).left_out(queries, bounds) for number in range(4, 21)
    ]
    for more, fewer in zip(left_out[1:], left_out, strict=False):
        assert (more <= fewer).all()
    assert torch.equal(left_out[-1], ~choice_of(row).seen.unsqueeze(1).expand_as(left_out[-1]))


@pytest.mark.parametrize("sparsity", [None, Sparsity(309, 4)])
def test_rows_that_read_everything_choose_nothing(sparsity: Sparsity | None) -> None:
    row = RowSpan(0, 9, 300, 0, sparsity)
    layout = StepLayout((row,), torch.arange(9), np.arange(NUM_BLOCKS)[None])
    assert BlockChoice.of(row, layout) is None


@pytest.mark.parametrize(("start", "num_dense"), [(0, 30), (110, 15), (125, 0), (300, 0)])
def test_a_row_has_two_parts(start: int, num_dense: int) -> None:
    row = RowSpan(7, 30, start, 2, Sparsity(125, 4))
    dense, sparse = row.dense_part, row.sparse_part
    assert (dense.first, dense.start, dense.num_tokens) == (7, start, num_dense)
    assert (sparse.first, sparse.start, sparse.num_tokens) == (7 + num_dense, start + num_dense, 30 - num_dense)
    assert dense.table_row == sparse.table_row == 2
