"""The scheduler without a model: random traces of arrivals, growth, aborts and preemption."""

import random
from collections import deque
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama4coder.engine.plan import StepPlan
from llama4coder.engine.scheduler import Scheduler, SchedulerLimits
from llama4coder.errors import ContextTooLong
from llama4coder.kv.block_pool import BlockPool
from llama4coder.spec.types import RowOutcome
from llama4coder.types import FinishReason, GenerateRequest, SamplingParams, StopConditions, TokenEvent
from tests.support.fake_rank import FakeRank

BLOCK_SIZE = 4
CONTEXT = 64


def make_scheduler(num_blocks: int = 16, num_shards: int = 1, **overrides: int | bool) -> Scheduler:
    """With so many blocks on each shard."""
    limits = {"max_sequences": 4, "max_step_tokens": 16, "prefix_caching": True, **overrides}
    return Scheduler(BlockPool(num_blocks, num_shards), SchedulerLimits(BLOCK_SIZE, CONTEXT, **limits))


def request(request_id: str, prompt: list[int], max_tokens: int, **sampling: int) -> GenerateRequest:
    return GenerateRequest(request_id, tuple(prompt), SamplingParams(**sampling), StopConditions(max_tokens), seed=0)


def expected_tokens(num_prompt: int, max_tokens: int) -> list[int]:
    return [(num_prompt + index) % 7 for index in range(max_tokens)]


class Pipeline:
    """A scheduler and a rank that is up to `depth` plans behind it; with a chance of guesses for what follows."""

    def __init__(self, scheduler: Scheduler, depth: int, guesses: random.Random | None = None) -> None:
        self.scheduler = scheduler
        self.depth = depth
        self.num_accepted = 0
        self._guesses = guesses
        self.num_computed = 0  # tokens
        self._rank = FakeRank(scheduler.limits.max_sequences, BLOCK_SIZE, scheduler.pool.num_shards)
        self._planned: deque[StepPlan] = deque()

    def step(self) -> list[TokenEvent]:
        """Plan a step; commit the oldest one if the rank is far enough behind, or if there is nothing to plan."""
        if self._planned and self._planned[-1].has_drafts:
            return self.commit()
        plan = self.scheduler.schedule(self._drafts())
        assert plan is not None or self._planned or not self.scheduler.has_work, "stuck"
        if plan is not None:
            assert plan.num_tokens <= self.scheduler.limits.max_step_tokens
            self._planned.append(plan)
            self.num_computed += plan.num_tokens
        if plan is not None and len(self._planned) < self.depth:
            return []
        return self.commit()

    def commit(self) -> list[TokenEvent]:
        if not self._planned:
            return []
        plan = self._planned.popleft()
        events = self.scheduler.commit(plan, self._rank.execute(plan))
        self.scheduler.check_integrity()
        self.num_accepted += sum(event.num_accepted for event in events)
        return events

    def _drafts(self) -> dict[str, tuple[int, ...]]:
        """Mostly right, of any length, for some; none while a plan is out."""
        if self._guesses is None or self._planned:
            return {}
        drafts = {}
        for query in self.scheduler.queries():
            length, wrong_at = self._guesses.randrange(9), self._guesses.randrange(12)
            right = [(len(query.token_ids) + index) % 7 for index in range(length)]
            if length:
                drafts[query.request_id] = tuple(token if index != wrong_at else 9 for index, token in enumerate(right))
        return drafts

    @property
    def has_work(self) -> bool:
        return bool(self._planned) or self.scheduler.has_work


@dataclass(frozen=True)
class Operation:
    """A request, steps, and perhaps the abort of an earlier one."""

    num_prompt: int
    max_tokens: int
    prompt_kind: int
    num_steps: int
    aborts: bool
    stop_token_id: int | None  # the fake rank's tokens are 0 to 6

    def request(self, request_id: str) -> GenerateRequest:
        stop_ids = frozenset() if self.stop_token_id is None else frozenset({self.stop_token_id})
        stop = StopConditions(self.max_tokens, stop_token_ids=stop_ids)
        return GenerateRequest(request_id, (self.prompt_kind,) * self.num_prompt, SamplingParams(), stop, seed=0)

    def expected(self) -> list[int]:
        tokens = expected_tokens(self.num_prompt, self.max_tokens)
        return tokens[: tokens.index(self.stop_token_id) + 1] if self.stop_token_id in tokens else tokens


@dataclass(frozen=True)
class Setting:
    """Where the operations happen."""

    num_blocks: int  # beyond what one sequence needs
    num_shards: int
    prefix_caching: bool
    chunk: int
    depth: int

    def scheduler(self) -> Scheduler:
        blocks_per_shard = -(-(CONTEXT // BLOCK_SIZE + self.num_blocks) // self.num_shards)
        return make_scheduler(
            blocks_per_shard, self.num_shards, prefix_caching=self.prefix_caching, max_step_tokens=self.chunk
        )


operations = st.lists(
    st.builds(
        Operation,
        num_prompt=st.integers(1, 30),
        max_tokens=st.integers(0, 30),
        prompt_kind=st.integers(0, 3),
        num_steps=st.integers(0, 5),
        aborts=st.booleans(),
        stop_token_id=st.sampled_from([None, None, 0, 5]),
    ),
    min_size=1,
    max_size=14,
)


@settings(max_examples=500, deadline=None)
@given(
    operations=operations,
    setting=st.builds(
        Setting,
        num_blocks=st.integers(0, 24),
        num_shards=st.integers(1, 4),
        prefix_caching=st.booleans(),
        chunk=st.integers(4, 40),
        depth=st.integers(1, 3),
    ),
    guesses=st.none() | st.randoms(use_true_random=False),
)
def test_every_request_gets_all_its_tokens_and_every_block_comes_back(
    operations: list[Operation], setting: Setting, guesses: random.Random | None
) -> None:
    pipeline = Pipeline(setting.scheduler(), setting.depth, guesses)
    scheduler = pipeline.scheduler
    received: dict[str, list[int]] = {}
    finished: dict[str, FinishReason] = {}

    def note(events: list[TokenEvent]) -> None:
        for event in events:
            assert event.request_id not in finished
            assert event.offset == len(received[event.request_id])
            received[event.request_id].extend(event.token_ids)
            if event.finish_reason is not None:
                finished[event.request_id] = event.finish_reason

    for index, operation in enumerate(operations):
        request_id = str(index)
        scheduler.add(operation.request(request_id), urgent=index % 5 == 4)
        received[request_id] = []
        for _ in range(operation.num_steps):
            note(pipeline.step())
        if operation.aborts:
            victim = str(index // 2)
            scheduler.abort(victim)
            finished.setdefault(victim, FinishReason.ABORT)
            scheduler.check_integrity()
    for _ in range(3000):
        if not pipeline.has_work:
            break
        note(pipeline.step())
    assert not pipeline.has_work, "starved"
    scheduler.check_integrity()
    for index, operation in enumerate(operations):
        tokens, expected = received[str(index)], operation.expected()
        if finished[str(index)] is FinishReason.ABORT:
            assert tokens == expected[: len(tokens)]
        else:
            assert tokens == expected
            stopped = finished[str(index)] is FinishReason.STOP
            assert stopped == (operation.stop_token_id in expected)


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


def test_a_prefix_is_found_on_every_shard_it_lies_on() -> None:
    pipeline = Pipeline(make_scheduler(8, num_shards=3, max_step_tokens=40), depth=1)
    for name in "ab":
        pipeline.scheduler.add(request(name, list(range(21)), 2))
        while pipeline.has_work:
            pipeline.step()
    assert pipeline.num_computed == (21 + 1) + (1 + 1), "five blocks of the second prompt were there"


def test_a_full_shard_keeps_a_prompt_waiting_that_the_others_could_hold() -> None:
    """Prompts of one block lie on the first shard; a running one may need a block of the second."""
    scheduler = make_scheduler(2, num_shards=2)
    for name in "abc":
        scheduler.add(request(name, [ord(name)] * 3, 1))
    scheduler.schedule()
    assert [admission.request_id for admission in scheduler.admissions] == ["a", "b"]
    assert scheduler.pool.usage.free == 2


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


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_last_token_is_not_computed(depth: int) -> None:
    pipeline = Pipeline(make_scheduler(64), depth)
    pipeline.scheduler.add(request("a", [1] * 10, 6))
    while pipeline.has_work:
        pipeline.step()
    assert pipeline.num_computed == 10 + 6 - 1


@pytest.mark.parametrize(("draft", "num_accepted"), [((11 % 7, 12 % 7), 2), ((11 % 7, 9), 1), ((9, 12 % 7), 0)])
def test_right_guesses_are_steps_saved_and_wrong_ones_leave_no_trace(draft: tuple[int, ...], num_accepted: int) -> None:
    scheduler, rank = make_scheduler(64), FakeRank(4, BLOCK_SIZE)
    scheduler.add(request("a", [1] * 10, 20))
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
    scheduler, rank = make_scheduler(16, max_step_tokens=5, prefix_caching=False), FakeRank(4, BLOCK_SIZE)
    for name in "ab":
        scheduler.add(request(name, [ord(name)] * 4, 30))
    while len(scheduler.queries()) < 2:
        scheduler.commit(plan := scheduler.schedule(), rank.execute(plan))
    plan = scheduler.schedule({"a": (0,) * 8, "b": (0,) * 8})
    assert [row.num_tokens for row in plan.rows] == [4, 1]


def test_a_draft_takes_no_block_that_is_not_there() -> None:
    scheduler, rank = make_scheduler(16, prefix_caching=False), FakeRank(4, BLOCK_SIZE)
    scheduler.add(request("a", [1] * 4, 30))
    scheduler.commit(plan := scheduler.schedule(), rank.execute(plan))
    scheduler.pool.allocate(range(scheduler.pool.usage.free - 1))
    plan = scheduler.schedule({"a": (0,) * 8})
    assert plan.rows[0].draft_token_ids == (0, 0, 0), "with the token before them one block"
    assert scheduler.num_preemptions == 0


def test_guesses_end_where_the_request_does() -> None:
    scheduler, rank = make_scheduler(64), FakeRank(4, BLOCK_SIZE)
    scheduler.add(request("a", [1] * 10, 4))
    scheduler.commit(plan := scheduler.schedule(), rank.execute(plan))
    plan = scheduler.schedule({"a": (4, 5, 6, 0, 1)})
    assert plan.rows[0].draft_token_ids == (4, 5), "three tokens are missing, and the target's own is one of them"
    (event,) = scheduler.commit(plan, rank.execute(plan))
    assert event.token_ids == (4, 5, 6) and event.finish_reason is FinishReason.LENGTH
    assert not scheduler.queries()


def test_a_stop_token_among_right_guesses_ends_the_request_there() -> None:
    scheduler, rank = make_scheduler(64), FakeRank(4, BLOCK_SIZE)
    stop = StopConditions(20, stop_token_ids=frozenset({5}))
    scheduler.add(GenerateRequest("a", (1,) * 10, SamplingParams(), stop, seed=0))
    scheduler.commit(plan := scheduler.schedule(), rank.execute(plan))
    (event,) = scheduler.commit(plan := scheduler.schedule({"a": (4, 5, 6)}), rank.execute(plan))
    assert (event.token_ids, event.finish_reason) == ((4, 5), FinishReason.STOP)
    assert (event.num_accepted, event.num_rejected) == (2, 1)
    scheduler.check_integrity()


def test_what_is_to_prefill_leaves_out_what_is_cached() -> None:
    scheduler = make_scheduler(max_sequences=2, max_step_tokens=16)
    pipeline = Pipeline(scheduler, depth=1)
    scheduler.add(request("first", list(range(12)), 1))
    assert (scheduler.num_prefill_tokens, scheduler.num_running_tokens) == (12, 0)
    pipeline.step()
    assert (scheduler.num_prefill_tokens, scheduler.num_running_tokens) == (0, 0)
    scheduler.add(request("again", [*range(12), 50, 51], 4))
    assert scheduler.num_prefill_tokens == 2
    scheduler.add(request("long", list(range(100, 140)), 4))
    assert scheduler.num_prefill_tokens == 42
    pipeline.step()
    assert (scheduler.num_prefill_tokens, scheduler.num_running_tokens) == (40 - 14, 15 + 40)
