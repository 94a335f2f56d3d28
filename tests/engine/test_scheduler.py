"""The scheduler without a model: who gets what in a step, case by case."""

import random

import pytest

from llama4coder.errors import ContextTooLong
from llama4coder.kv.step_sizing import SCORED_TOKENS
from llama4coder.spec.types import RowOutcome
from llama4coder.types import FinishReason, GenerateRequest, Priority, SamplingParams, StopConditions
from tests.support.fake_rank import FakeRank
from tests.support.scheduling import BLOCK_SIZE, CONTEXT, Pipeline, expect_outputs, make_scheduler, request


def test_decodes_go_on_while_a_long_prompt_is_prefilled() -> None:
    scheduler, rank = make_scheduler(64, max_step_tokens=8), FakeRank(4, BLOCK_SIZE)
    scheduler.add(request("short", [1, 2], 30), 0.0)
    scheduler.commit(plan := scheduler.schedule(), rank.execute(plan))
    scheduler.add(request("long", list(range(40)), 4), 0.0)
    for _ in range(5):
        plan = scheduler.schedule()
        assert [row.num_tokens for row in plan.rows] == [1, 7]
        events = scheduler.commit(plan, rank.execute(plan))
        assert [event.request_id for event in events] == ["short"]


def test_requests_are_admitted_in_order_of_arrival_but_urgent_ones_first() -> None:
    scheduler = make_scheduler(16, max_sequences=2)
    for name in "abc":
        scheduler.add(request(name, [ord(name)] * 3, 2), 0.0)
    scheduler.add(request("probe", [0], 1), 0.0, urgent=True)
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
    scheduler.add(request("a", list(range(20)), 2), 0.0)
    scheduler.add(request("b", list(range(20)), 2), 0.0)
    scheduler.add(request("c", [9] * 6, 2), 0.0)
    plans = []
    while scheduler.has_work:
        plans.append(plan := scheduler.schedule())
        scheduler.commit(plan, rank.execute(plan))
    by_sequence = {row.seq_id: row.start for plan in reversed(plans) for row in plan.rows}
    assert by_sequence == {0: 0, 1: 16, 2: 0}


def test_prompt_logprobs_never_come_from_cached_blocks() -> None:
    scheduler, rank = make_scheduler(64, max_step_tokens=40), FakeRank(4, BLOCK_SIZE)
    for name in "ab":
        scheduler.add(request(name, list(range(20)), 1, num_prompt_logprobs=0), 0.0)
        plan = scheduler.schedule()
        assert plan.rows[0].start == 0
        scheduler.commit(plan, rank.execute(plan))


def test_few_tokens_of_scored_prompts_join_a_step_and_hold_up_nobody() -> None:
    """Each costs a row of logits, for which the largest step has made room."""
    scheduler = make_scheduler(num_blocks=400, context_length=600, max_step_tokens=512)
    for name in "ab":
        scheduler.add(request(name, [0] * 200, 2, num_prompt_logprobs=1), 0.0)
    scheduler.add(request("plain", [1] * 100, 2), 0.0)
    plans = [scheduler.schedule() for _ in range(4)]
    sizes = [{row.seq_id: row.num_tokens for row in plan.rows} if plan else {} for plan in plans]
    a, b, plain = 0, 1, 2
    assert sizes[0] == {a: SCORED_TOKENS, plain: 100}
    assert sizes[1] == {a: 200 - SCORED_TOKENS, plain: 1, b: 2 * SCORED_TOKENS - 200}
    assert sizes[2] == {a: 1, b: SCORED_TOKENS}
    assert sizes[3] == {b: 400 - 3 * SCORED_TOKENS}


def test_a_prefix_is_found_on_every_shard_it_lies_on() -> None:
    pipeline = Pipeline(make_scheduler(8, num_shards=3, max_step_tokens=40), depth=1)
    for name in "ab":
        pipeline.scheduler.add(request(name, list(range(21)), 2), 0.0)
        while pipeline.has_work:
            pipeline.step()
    assert pipeline.num_computed == (21 + 1) + (1 + 1), "five blocks of the second prompt were there"


def test_a_full_shard_keeps_a_prompt_waiting_that_the_others_could_hold() -> None:
    """Prompts of one block lie on the first shard; a running one may need a block of the second."""
    scheduler = make_scheduler(2, num_shards=2)
    for name in "abc":
        scheduler.add(request(name, [ord(name)] * 3, 1), 0.0)
    scheduler.schedule()
    assert [admission.request_id for admission in scheduler.admissions] == ["a", "b"]
    assert scheduler.pool.usage.free == 2


def test_preempted_requests_return_in_their_order() -> None:
    scheduler, rank = make_scheduler(16, max_step_tokens=32), FakeRank(4, BLOCK_SIZE)
    expect_outputs(scheduler, 2)
    generator = random.Random(0)
    for name in "abcd":
        scheduler.add(request(name, [generator.randrange(100) for _ in range(10)], 40), 0.0)
    finished = []
    while scheduler.has_work:
        plan = scheduler.schedule()
        events = scheduler.commit(plan, rank.execute(plan))
        finished += [event.request_id for event in events if event.finish_reason]
    assert scheduler.num_preemptions > 0
    assert finished == ["a", "b", "c", "d"]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_last_token_is_not_computed(depth: int) -> None:
    pipeline = Pipeline(make_scheduler(64), depth)
    pipeline.scheduler.add(request("a", [1] * 10, 6), 0.0)
    while pipeline.has_work:
        pipeline.step()
    assert pipeline.num_computed == 10 + 6 - 1


@pytest.mark.parametrize(("draft", "num_accepted"), [((11 % 7, 12 % 7), 2), ((11 % 7, 9), 1), ((9, 12 % 7), 0)])
def test_right_guesses_are_steps_saved_and_wrong_ones_leave_no_trace(draft: tuple[int, ...], num_accepted: int) -> None:
    scheduler, rank = make_scheduler(64), FakeRank(4, BLOCK_SIZE)
    scheduler.add(request("a", [1] * 10, 20), 0.0)
    scheduler.commit(plan := scheduler.schedule(), rank.execute(plan))
    (query,) = scheduler.queries()
    assert (query.request_id, list(query.token_ids), query.max_tokens) == ("a", [1] * 10 + [10 % 7], 18)
    plan = scheduler.schedule({"a": draft})
    (event,) = scheduler.commit(plan, rank.execute(plan))
    expected = tuple((11 + index) % 7 for index in range(num_accepted + 1))
    assert (event.token_ids, event.num_accepted, event.num_rejected) == (expected, num_accepted, 2 - num_accepted)
    (outcome,) = scheduler.outcomes
    assert outcome == RowOutcome("a", 11, 2, num_accepted, expected, has_ended=False)
    plan = scheduler.schedule()
    assert plan.rows[0].start == 11 + num_accepted and plan.rows[0].num_tokens == 1


def test_a_draft_takes_no_tokens_of_the_step_from_other_sequences() -> None:
    scheduler, rank = make_scheduler(32, max_step_tokens=5, prefix_caching=False), FakeRank(4, BLOCK_SIZE)
    for name in "ab":
        scheduler.add(request(name, [ord(name)] * 4, 30), 0.0)
    while len(scheduler.queries()) < 2:
        scheduler.commit(plan := scheduler.schedule(), rank.execute(plan))
    plan = scheduler.schedule({"a": (0,) * 8, "b": (0,) * 8})
    assert [row.num_tokens for row in plan.rows] == [4, 1]


def test_a_draft_takes_no_block_that_another_was_promised() -> None:
    scheduler, rank = make_scheduler(3), FakeRank(4, BLOCK_SIZE)
    expect_outputs(scheduler, 1)
    scheduler.add(request("a", [1] * 3, 6), 0.0)
    scheduler.add(request("b", [2] * 4, 6), 0.0)
    scheduler.commit(plan := scheduler.schedule(), rank.execute(plan))
    assert (scheduler.pool.usage.free, scheduler.num_promised_blocks) == (1, 1), "it is there, and b's"
    plan = scheduler.schedule({"a": (4, 5, 6)})
    assert [row.draft_token_ids for row in plan.rows] == [(), ()]
    assert scheduler.num_preemptions == 0
    assert scheduler.pool.usage.free == 0


def test_guesses_end_where_the_request_does() -> None:
    scheduler, rank = make_scheduler(64), FakeRank(4, BLOCK_SIZE)
    scheduler.add(request("a", [1] * 10, 4), 0.0)
    scheduler.commit(plan := scheduler.schedule(), rank.execute(plan))
    plan = scheduler.schedule({"a": (4, 5, 6, 0, 1)})
    assert plan.rows[0].draft_token_ids == (4, 5), "three tokens are missing, and the target's own is one of them"
    (event,) = scheduler.commit(plan, rank.execute(plan))
    assert event.token_ids == (4, 5, 6) and event.finish_reason is FinishReason.LENGTH
    assert not scheduler.queries()


def test_a_stop_token_among_right_guesses_ends_the_request_there() -> None:
    scheduler, rank = make_scheduler(64), FakeRank(4, BLOCK_SIZE)
    stop = StopConditions(20, stop_token_ids=frozenset({5}))
    scheduler.add(GenerateRequest("a", (1,) * 10, SamplingParams(), stop, seed=0), 0.0)
    scheduler.commit(plan := scheduler.schedule(), rank.execute(plan))
    (event,) = scheduler.commit(plan := scheduler.schedule({"a": (4, 5, 6)}), rank.execute(plan))
    assert (event.token_ids, event.finish_reason) == ((4, 5), FinishReason.STOP)
    assert (event.num_accepted, event.num_rejected) == (2, 1)
    scheduler.check_integrity()


def test_an_admission_reserves_the_expected_output_and_no_more_than_can_come() -> None:
    scheduler = make_scheduler(64)
    expect_outputs(scheduler, 8)
    scheduler.add(request("long", [1] * 10, 40), 0.0)
    scheduler.add(request("short", [2] * 10, 3), 0.0)
    scheduler.schedule()
    blocks = scheduler.pool.usage.used + scheduler.num_promised_blocks
    assert blocks == -(-(10 + 8) // BLOCK_SIZE) + -(-(10 + 2) // BLOCK_SIZE)


def test_a_request_waits_for_its_expected_output_and_holds_up_smaller_ones() -> None:
    scheduler = make_scheduler(12)
    expect_outputs(scheduler, 16)
    scheduler.add(request("a", [1] * 8, 30), 0.0)
    scheduler.add(request("b", [2] * 9, 30), 1.0)
    scheduler.add(request("c", [3], 1), 2.0)
    scheduler.schedule()
    assert [admission.request_id for admission in scheduler.admissions] == ["a"]
    scheduler.abort("b")
    scheduler.schedule()
    assert [admission.request_id for admission in scheduler.admissions] == ["c"]


def test_a_reservation_that_was_too_small_is_extended_before_anybody_is_preempted() -> None:
    pipeline = Pipeline(make_scheduler(12), depth=1)
    expect_outputs(pipeline.scheduler, 1)
    pipeline.scheduler.add(request("a", [1] * 3, 30), 0.0)
    sizes = set()
    while pipeline.has_work:
        pipeline.step()
        sizes.add(pipeline.scheduler.pool.usage.used + pipeline.scheduler.num_promised_blocks)
    assert sorted(sizes) == [0, 1, 6, 8], "by four blocks beyond what it needs, and by what it can come to need"
    assert pipeline.victims == []


def test_the_newest_is_preempted_and_comes_back_with_all_that_it_could_need() -> None:
    pipeline = Pipeline(make_scheduler(12), depth=1)
    scheduler = pipeline.scheduler
    expect_outputs(scheduler, 1)
    for name in "abc":
        scheduler.add(request(name, [ord(name)] * 8, 20), 0.0)
    reserved_at_return = 0
    while pipeline.has_work:
        pipeline.step()
        if scheduler.readmissions and not reserved_at_return:
            reserved_at_return = scheduler._running[-1].num_reserved
            (back,) = scheduler.readmissions
            assert back.num_restored_tokens + back.num_recomputed_tokens >= 8
    assert pipeline.victims == ["c", "b"]
    assert reserved_at_return == -(-(8 + 20 - 1) // BLOCK_SIZE)


def test_what_a_preempted_sequence_had_is_found_again_or_computed_again() -> None:
    for prefix_caching, restored in ((True, 8), (False, 0)):
        pipeline = Pipeline(make_scheduler(6, prefix_caching=prefix_caching), depth=1)
        scheduler = pipeline.scheduler
        expect_outputs(scheduler, 1)
        scheduler.add(request("a", [1] * 8, 12), 0.0)
        scheduler.add(request("b", [2] * 8, 12), 0.0)
        while not scheduler.num_preemptions:
            pipeline.step()
        aborted = scheduler.abort("a")
        assert aborted is not None and not aborted.was_preempted
        pipeline.step()
        (back,) = scheduler.readmissions
        assert back.num_restored_tokens == restored
        assert restored + back.num_recomputed_tokens >= 11


def test_who_is_aborted_while_it_waits_to_return_had_been_preempted() -> None:
    pipeline = Pipeline(make_scheduler(6), depth=1)
    expect_outputs(pipeline.scheduler, 1)
    for name in "ab":
        pipeline.scheduler.add(request(name, [ord(name)] * 8, 12), 0.0)
    while not pipeline.victims:
        pipeline.step()
    aborted = pipeline.scheduler.abort("b")
    assert aborted is not None and aborted.was_preempted and aborted.num_output_tokens > 0
    assert pipeline.scheduler.abort("b") is None


def test_a_batch_request_is_overtaken_until_it_has_aged() -> None:
    scheduler = make_scheduler(64, max_sequences=1)
    scheduler.add(request("batch", [1] * 3, 1, Priority.BATCH), 0.0)
    for index in range(3):
        scheduler.add(request(f"soon-{index}", [2 + index] * 3, 1), 10.0 * index)
        scheduler.add(request(f"late-{index}", [5 + index] * 3, 1), 31.0 + index)
    pipeline, order = Pipeline(scheduler, depth=1), []
    while pipeline.has_work:
        pipeline.step()
        order += [admission.request_id for admission in scheduler.admissions]
    assert order == ["soon-0", "soon-1", "soon-2", "batch", "late-0", "late-1", "late-2"]


def test_who_has_waited_too_long_is_dropped_but_nobody_who_has_begun() -> None:
    scheduler = make_scheduler(64, max_sequences=1, queue_timeout_s=10.0)
    for index, name in enumerate("abc"):
        scheduler.add(request(name, [index] * 3, 9), float(index))
    scheduler.schedule()
    assert scheduler.expire(10.9) == []
    assert scheduler.expire(11.5) == ["b"]
    assert scheduler.num_waiting == 1
    scheduler.add(request("b", [1] * 3, 9), 12.0)
    assert scheduler.expire(12.0) == ["c"]
    scheduler.check_integrity()


def test_what_no_shard_could_ever_hold_is_refused_with_the_numbers() -> None:
    scheduler = make_scheduler(4, num_shards=2)
    scheduler.check_fits(request("a", [1] * 27, 6))  # 32 tokens are computed, the last one is not
    with pytest.raises(ContextTooLong, match="need 5 KV blocks of one shard, which has 4: 32 tokens") as caught:
        scheduler.check_fits(request("a", [1] * 27, 7))
    assert (caught.value.num_prompt_tokens, caught.value.context_length) == (27, 32)


def test_outputs_teach_how_much_to_reserve_and_those_of_probes_are_cut() -> None:
    pipeline = Pipeline(make_scheduler(64), depth=1)
    scheduler = pipeline.scheduler
    before = scheduler.output_lengths.expected(0)
    for index in range(60):
        scheduler.add(request(f"probe-{index}", [1], 1), 0.0, urgent=True)
        scheduler.add(request(f"cut-{index}", [2], 2), 0.0)
        while pipeline.has_work:
            pipeline.step()
    assert scheduler.output_lengths.expected(0) == before
    stop = StopConditions(30, stop_token_ids=frozenset({3}))
    for index in range(60):
        scheduler.add(GenerateRequest(f"stopped-{index}", (1,), SamplingParams(), stop, seed=0), 0.0)
        while pipeline.has_work:
            pipeline.step()
    assert scheduler.output_lengths.expected(0) == 4
    for index in range(60):
        scheduler.add(request(f"aborted-{index}", [1], 30), 0.0)
        for _ in range(12):
            pipeline.step()
        scheduler.abort(f"aborted-{index}")
    assert scheduler.output_lengths.expected(0) == 16


def test_what_is_to_prefill_leaves_out_what_is_cached() -> None:
    scheduler = make_scheduler(max_sequences=2, max_step_tokens=16)
    pipeline = Pipeline(scheduler, depth=1)
    scheduler.add(request("first", list(range(12)), 1), 0.0)
    assert (scheduler.num_prefill_tokens, scheduler.num_running_tokens) == (12, 0)
    pipeline.step()
    assert (scheduler.num_prefill_tokens, scheduler.num_running_tokens) == (0, 0)
    scheduler.add(request("again", [*range(12), 50, 51], 4), 0.0)
    assert scheduler.num_prefill_tokens == 2
    scheduler.add(request("long", list(range(100, 140)), 4), 0.0)
    assert scheduler.num_prefill_tokens == 42
    pipeline.step()
    assert (scheduler.num_prefill_tokens, scheduler.num_running_tokens) == (40 - 14, 15 + 40)


def test_who_outgrows_what_it_was_promised_goes_itself_where_all_others_have_gone_before() -> None:
    pipeline = Pipeline(make_scheduler(12, max_step_tokens=32), depth=1)
    expect_outputs(pipeline.scheduler, 1)
    for name, max_tokens in (("a", 40), ("b", 20), ("c", 20)):
        pipeline.scheduler.add(request(name, [ord(name)] * 8, max_tokens), 0.0)
    while not pipeline.victims:
        pipeline.step()
    assert pipeline.victims == ["c"]
    pipeline.scheduler.abort("b")
    pipeline.step()
    assert len(pipeline.scheduler.readmissions) == 1, "c runs again, and is the newest"
    while pipeline.has_work:
        pipeline.step()
    assert pipeline.victims == ["c", "a"]
