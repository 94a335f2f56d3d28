"""Merging partial attention: however the keys are divided, the result is attention to all of them."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from llama4coder.attention.merge import AttentionOutput, merge

NUM_TOKENS, NUM_HEADS, HEAD_DIM = 3, 2, 8


def attend(scores: Tensor, values: Tensor) -> AttentionOutput:
    """`scores` `[num_tokens, num_heads, num_keys]`; what lies in the output where there is no key must not matter."""
    out = scores.softmax(-1) @ values if len(values) else torch.full((*scores.shape[:2], HEAD_DIM), torch.nan)
    return AttentionOutput(out, scores.logsumexp(-1))


def merge_all(parts: list[AttentionOutput]) -> AttentionOutput:
    return merge(torch.stack([part.out for part in parts]), torch.stack([part.lse for part in parts]))


@st.composite
def divided(draw: st.DrawFn) -> tuple[AttentionOutput, list[AttentionOutput]]:
    """Attention to some keys, and to each part of any division of them; parts may be empty, and scores far apart."""
    owners = draw(st.lists(st.integers(0, 4), min_size=1, max_size=24))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    spread = draw(st.sampled_from([0.1, 5.0, 100.0]))
    scores = torch.randn(NUM_TOKENS, NUM_HEADS, len(owners), generator=generator) * spread
    values = torch.randn(len(owners), HEAD_DIM, generator=generator)
    places = [[index for index, owner in enumerate(owners) if owner == part] for part in range(5)]
    return attend(scores, values), [attend(scores[..., place], values[place]) for place in places]


def assert_same(actual: AttentionOutput, expected: AttentionOutput) -> None:
    torch.testing.assert_close(actual.out, expected.out, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(actual.lse, expected.lse, atol=1e-5, rtol=1e-5)


@settings(max_examples=200, deadline=None)
@given(divided())
def test_any_division_of_the_keys_gives_the_whole(case: tuple[AttentionOutput, list[AttentionOutput]]) -> None:
    whole, parts = case
    assert_same(merge_all(parts), whole)


@settings(max_examples=100, deadline=None)
@given(case=divided(), order=st.permutations(range(5)))
def test_the_order_of_the_parts_does_not_matter(
    case: tuple[AttentionOutput, list[AttentionOutput]], order: list[int]
) -> None:
    _, parts = case
    assert_same(merge_all([parts[index] for index in order]), merge_all(parts))


@settings(max_examples=100, deadline=None)
@given(case=divided(), first=st.integers(1, 4))
def test_what_has_been_merged_can_be_merged_again(
    case: tuple[AttentionOutput, list[AttentionOutput]], first: int
) -> None:
    whole, parts = case
    assert_same(merge_all([merge_all(parts[:first]), merge_all(parts[first:])]), whole)


def test_parts_that_all_saw_nothing_give_zeros() -> None:
    nothing = AttentionOutput(
        torch.full((NUM_TOKENS, NUM_HEADS, HEAD_DIM), torch.nan), torch.full((NUM_TOKENS, NUM_HEADS), -torch.inf)
    )
    merged = merge_all([nothing, nothing])
    assert merged.out.eq(0).all() and merged.lse.isneginf().all()


def test_a_single_part_is_left_as_it_is() -> None:
    part = attend(torch.randn(NUM_TOKENS, NUM_HEADS, 5), torch.randn(5, HEAD_DIM))
    assert_same(merge_all([part]), part)


def test_outputs_keep_their_dtype_and_are_summed_in_float32() -> None:
    parts = torch.full((256, 1, 1, 4), 1.0, dtype=torch.bfloat16)
    merged = merge(parts, torch.zeros(256, 1, 1))
    assert merged.out.dtype == torch.bfloat16
    assert merged.out.eq(1.0).all(), "in bfloat16 a sum of 256 small parts stops growing"
