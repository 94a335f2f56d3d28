"""Together the ranks hold every weight, and nothing twice that need not be."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama4coder.errors import ConfigError
from llama4coder.parallel.layout import ParallelLayout, Part, choose_layout, possible_layouts
from llama4coder.parallel.plan import RankPlan, TensorSlice
from llama4coder.shape import ModelShape
from tests.support.shapes import LLAMA_70B, SMOLLM2


@given(size=st.integers(0, 1000), count=st.integers(1, 20))
def test_parts_are_contiguous_and_nearly_equal(size: int, count: int) -> None:
    ranges = [Part(index, count).of(size) for index in range(count)]
    assert [position for part in ranges for position in range(part.start, part.stop)] == list(range(size))
    lengths = [part.stop - part.start for part in ranges]
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize(
    ("shape", "num_ranks", "expected"),
    [
        (SMOLLM2, 1, ["1 x 1"]),
        (SMOLLM2, 2, ["1 x 2"]),
        (SMOLLM2, 3, ["3 x 1", "1 x 3"]),
        (SMOLLM2, 4, ["1 x 4"]),
        (LLAMA_70B, 8, ["8 x 1", "4 x 2", "2 x 4", "1 x 8"]),
        (LLAMA_70B, 16, ["8 x 2", "4 x 4", "2 x 8", "1 x 16"]),
    ],
)
def test_heads_are_split_before_blocks(shape: ModelShape, num_ranks: int, expected: list[str]) -> None:
    assert [str(layout) for layout in possible_layouts(shape, num_ranks)] == expected
    assert str(choose_layout(shape, num_ranks, None)) == expected[0]


def test_an_impossible_layout_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"3 KV heads.*1 x 4"):
        choose_layout(SMOLLM2, 4, 2)
    with pytest.raises(ConfigError, match="8 x 1, 4 x 2, 2 x 4, 1 x 8"):
        choose_layout(LLAMA_70B, 8, 3)
    assert choose_layout(LLAMA_70B, 8, 2) == ParallelLayout(4, 2)


def cells(part: TensorSlice) -> set[tuple[int, int]]:
    rows, columns = part.rows, part.columns or slice(0, 1)
    return set(product(range(rows.start, rows.stop), range(columns.start, columns.stop)))


TINY = replace(SMOLLM2, vocab_size=300, hidden_size=6, intermediate_size=7, num_heads=12, num_kv_heads=6, head_dim=2)
NAMES = {
    "model.embed_tokens.weight": (300, 6),
    "lm_head.weight": (300, 6),
    "model.layers.0.self_attn.q_proj.weight": (24, 6),
    "model.layers.0.self_attn.q_proj.bias": (24,),
    "model.layers.0.self_attn.k_proj.weight": (12, 6),
    "model.layers.0.self_attn.o_proj.weight": (6, 24),
    "model.layers.0.mlp.gate_proj.weight": (7, 6),
    "model.layers.0.mlp.down_proj.weight": (6, 7),
    "model.layers.0.input_layernorm.weight": (6,),
    "model.norm.weight": (6,),
}
SHARED_BY_KV_SHARDS = ("q_proj", "k_proj", "v_proj")
WHOLE = ("norm.weight",)


@pytest.mark.parametrize("layout", [ParallelLayout(h, s) for h in (1, 2, 3, 6) for s in (1, 2, 3)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_the_ranks_cover_each_weight(layout: ParallelLayout, name: str) -> None:
    size = NAMES[name]
    parts = [cells(RankPlan(TINY, layout, rank).slice_of(name, size)) for rank in range(layout.num_ranks)]
    everything = cells(TensorSlice(slice(0, size[0]), slice(0, size[1]) if len(size) == 2 else None))
    assert set.union(*parts) == everything
    copies = layout.num_ranks if name.endswith(WHOLE) else 1
    if any(part in name for part in SHARED_BY_KV_SHARDS):
        copies = layout.kv_shards
    assert sum(map(len, parts)) == copies * len(everything)


@pytest.mark.parametrize("layout", [ParallelLayout(2, 3), ParallelLayout(6, 1), ParallelLayout(1, 4)], ids=str)
def test_what_a_rank_attends_to_is_what_its_out_projection_takes(layout: ParallelLayout) -> None:
    for rank in range(layout.num_ranks):
        plan = RankPlan(TINY, layout, rank)
        columns = plan.slice_of("model.layers.0.self_attn.o_proj.weight", (6, 24)).columns
        first_head = plan.num_heads * layout.heads_part(rank).index
        assert columns is not None
        assert columns.start == first_head * TINY.head_dim + plan.attended.start
        assert columns.stop - columns.start == plan.attended.stop - plan.attended.start
    assert [layout.kv_group(rank) for rank in range(layout.num_ranks)] == [
        tuple(other for other in range(layout.num_ranks) if layout.heads_part(other) == layout.heads_part(rank))
        for rank in range(layout.num_ranks)
    ]


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 5, 7, 18])
def test_shares_of_the_vocabulary_begin_where_tokens_are_drawn_together(num_ranks: int) -> None:
    plans = [RankPlan(TINY, ParallelLayout(1, num_ranks), rank) for rank in range(num_ranks)]
    ids = [token_id for plan in plans for token_id in range(plan.vocabulary.start, plan.vocabulary.stop)]
    assert ids == list(range(TINY.vocab_size))
    assert all(plan.vocabulary.start % 64 == 0 for plan in plans if plan.vocabulary.start < TINY.vocab_size)
