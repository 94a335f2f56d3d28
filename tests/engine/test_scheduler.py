"""The scheduler without a model: random traces of arrivals, growth, aborts and preemption."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama4coder.engine.scheduler import Scheduler, SchedulerLimits
from llama4coder.errors import ContextTooLong
from llama4coder.kv.block_pool import BlockPool
from llama4coder.types import FinishReason, GenerateRequest, SamplingParams, StopConditions
from tests.support.fake_rank import FakeRank

BLOCK_SIZE = 4
CONTEXT = 64


def make_scheduler(num_blocks: int = 16, **overrides: int | bool) -> Scheduler:
    limits = {"max_sequences": 4, "max_step_tokens": 16, "prefix_caching": True, **overrides}
    return Scheduler(BlockPool(num_blocks), SchedulerLimits(BLOCK_SIZE, CONTEXT, **limits))


def request(request_id: str, prompt: list[int], max_tokens: int, **sampling: int) -> GenerateRequest:
    return GenerateRequest(request_id, tuple(prompt), SamplingParams(**sampling), StopConditions(max_tokens), seed=0)


def expected_tokens(num_prompt: int, max_tokens: int) -> list[int]:
    return [(num_prompt + index) % 7 for index in range(max_tokens)]


operations = st.lists(
    st.tuples(st.integers(1, 30), st.integers(0, 30), st.integers(0, 3), st.integers(0, 5), st.booleans()),
    min_size=1,
    max_size=14,
)


@settings(max_examples=500, deadline=None)
@given(operations=operations, num_blocks=st.integers(16, 40), prefix_caching=st.booleans(), chunk=st.integers(4, 40))
def test_every_request_gets_all_its_tokens_and_every_block_comes_back(
    operations: list[tuple[int, int, int, int, bool]], num_blocks: int, prefix_caching: bool, chunk: int
) -> None:
    scheduler = make_scheduler(num_blocks, prefix_caching=prefix_caching, max_step_tokens=chunk)
    rank = FakeRank(4, BLOCK_SIZE)
    received: dict[str, list[int]] = {}
    finished: dict[str, FinishReason] = {}
    expected: dict[str, list[int]] = {}

    def step() -> None:
        plan = scheduler.schedule()
        assert plan is not None or not scheduler.has_work
        if plan is None:
            return
        assert plan.num_tokens <= chunk
        for event in scheduler.commit(plan, rank.execute(plan)):
            assert event.request_id not in finished
            received[event.request_id].extend(event.token_ids)
            if event.finish_reason is not None:
                finished[event.request_id] = event.finish_reason
        scheduler.check_integrity()

    for index, (num_prompt, max_tokens, prompt_kind, num_steps, abort) in enumerate(operations):
        request_id = str(index)
        scheduler.add(request(request_id, [prompt_kind] * num_prompt, max_tokens), urgent=index % 5 == 4)
        received[request_id] = []
        expected[request_id] = expected_tokens(num_prompt, max_tokens)
        for _ in range(num_steps):
            step()
        if abort:
            victim = str(index // 2)
            scheduler.abort(victim)
            if victim not in finished:
                finished[victim] = FinishReason.ABORT
            scheduler.check_integrity()
    for _ in range(3000):
        if not scheduler.has_work:
            break
        step()
    assert not scheduler.has_work, "starved"
    scheduler.check_integrity()
    for request_id, tokens in expected.items():
        if finished[request_id] is FinishReason.LENGTH:
            assert received[request_id] == tokens
        else:
            assert received[request_id] == tokens[: len(received[request_id])]


def test_decodes_go_on_while_a_long_prompt_is_prefilled() -> None:
    scheduler, rank = make_scheduler(64, max_step_tokens=8), FakeRank(4, BLOCK_SIZE)
    scheduler.add(request("short", [1, 2], 30))
    scheduler.commit(plan := scheduler.schedule(), rank.execute(plan))
    scheduler.add(request("long", list(range(40)), 4))
    for _ in range(5):
        plan = scheduler.schedule()
        assert [row.num_tokens for row in plan.rows] == [1, 7]
        events = scheduler.commit(plan, rank.execute(plan))
        assert [event.request_id for event in events] == ["short"]


def test_requests_are_admitted_in_order_of_arrival_but_urgent_ones_first() -> None:
    scheduler = make_scheduler(16, max_sequences=2)
    for name in "abc":
        scheduler.add(request(name, [ord(name)] * 3, 2))
    scheduler.add(request("probe", [0], 1), urgent=True)
    scheduler.schedule()
    assert [admission.request_id for admission in scheduler.admissions] == ["probe", "a"]


def test_a_request_that_could_never_be_held_is_refused_with_both_numbers() -> None:
    with pytest.raises(ContextTooLong) as caught:
        make_scheduler().check_fits(request("big", [1] * 60, 5))
    assert caught.value.num_prompt_tokens == 60 and caught.value.context_length == CONTEXT
    with pytest.raises(ContextTooLong):
        make_scheduler().check_fits(request("empty", [], 5))


def test_a_second_equal_prompt_waits_for_the_first_and_then_hits_its_blocks() -> None:
    scheduler, rank = make_scheduler(64, max_step_tokens=8), FakeRank(4, BLOCK_SIZE)
    scheduler.add(request("a", list(range(20)), 2))
    scheduler.add(request("b", list(range(20)), 2))
    scheduler.add(request("c", [9] * 6, 2))
    plans = []
    while scheduler.has_work:
        plans.append(plan := scheduler.schedule())
        scheduler.commit(plan, rank.execute(plan))
    by_sequence = {row.seq_id: row.start for plan in reversed(plans) for row in plan.rows}
    assert by_sequence == {0: 0, 1: 16, 2: 0}


def test_prompt_logprobs_never_come_from_cached_blocks() -> None:
    scheduler, rank = make_scheduler(64, max_step_tokens=40), FakeRank(4, BLOCK_SIZE)
    for name in "ab":
        scheduler.add(request(name, list(range(20)), 1, num_prompt_logprobs=0))
        plan = scheduler.schedule()
        assert plan.rows[0].start == 0
        scheduler.commit(plan, rank.execute(plan))


def test_preempted_requests_return_in_their_order() -> None:
    scheduler, rank = make_scheduler(16, max_step_tokens=32), FakeRank(4, BLOCK_SIZE)
    generator = random.Random(0)
    for name in "abcd":
        scheduler.add(request(name, [generator.randrange(100) for _ in range(10)], 40))
    finished = []
    while scheduler.has_work:
        plan = scheduler.schedule()
        events = scheduler.commit(plan, rank.execute(plan))
        finished += [event.request_id for event in events if event.finish_reason]
    assert scheduler.num_preemptions > 0
    assert finished == ["a", "b", "c", "d"]
