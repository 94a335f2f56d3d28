"""What plans compute, and what several sequences of them share."""

from hypothesis import given, settings
from hypothesis import strategies as st

from llama4coder.engine.plan import StepPlan, StepRow
from llama4coder.simulator.plan_loads import PlanLoads

BLOCK = 16


def plan(*rows: StepRow, gone: tuple[int, ...] = ()) -> StepPlan:
    return StepPlan(0, gone, (), rows)


def row(seq_id: int, start: int, num_tokens: int, *block_ids: int) -> StepRow:
    return StepRow(seq_id, start, num_tokens, block_ids, samples=True)


def test_blocks_that_two_sequences_have_are_read_again() -> None:
    loads = PlanLoads(BLOCK)
    first = loads.of(plan(row(0, 0, 40, 5, 6, 7), row(1, 32, 8, 5, 6, 8)))
    assert (first.num_decode_rows, first.num_read_tokens, first.num_reread_tokens) == (0, 0, 0)
    assert first.num_prefill_pairs == 40 * 41 // 2 + 8 * 32 + 8 * 9 // 2
    both = loads.of(plan(row(0, 40, 1), row(1, 40, 1)))
    assert (both.num_decode_rows, both.num_read_tokens, both.num_reread_tokens) == (2, 82, 32)
    alone = loads.of(plan(row(1, 41, 1), gone=(0,)))
    assert (alone.num_read_tokens, alone.num_reread_tokens) == (42, 0)


def test_a_block_that_is_used_anew_is_not_shared() -> None:
    loads = PlanLoads(BLOCK)
    loads.of(plan(row(0, 0, 16, 3)))
    loads.of(plan(row(1, 0, 16, 3), gone=(0,)))
    assert loads.of(plan(row(1, 16, 1, 4))).num_reread_tokens == 0


@settings(max_examples=50, deadline=None)
@given(prefixes=st.lists(st.integers(0, 6), min_size=1, max_size=8), data=st.data())
def test_counted_as_by_sets(prefixes: list[int], data: st.DataObject) -> None:
    """Sequences with so many blocks of one prefix come, and some go."""
    loads, tables = PlanLoads(BLOCK), {}
    for seq_id, shared in enumerate(prefixes):
        tables[seq_id] = (*range(shared), 100 + seq_id)
        loads.of(plan(row(seq_id, shared * BLOCK, BLOCK, *tables[seq_id])))
    gone = data.draw(st.sets(st.sampled_from(sorted(tables)), max_size=len(tables) - 1))
    left = {seq_id: table for seq_id, table in tables.items() if seq_id not in gone}
    load = loads.of(plan(*(row(seq_id, len(table) * BLOCK - 1, 1) for seq_id, table in left.items()), gone=tuple(gone)))
    num_held = sum(len(table) for table in left.values())
    assert load.num_read_tokens == num_held * BLOCK
    assert load.num_reread_tokens == (num_held - len(set().union(*left.values()))) * BLOCK
