"""Blocks that leave the pool for host memory and come back: planned by the scheduler, and on a tiny model."""

import random
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llama4coder.engine.engine import Engine
from llama4coder.engine.loading_rank import load_runner
from llama4coder.engine.scheduler import Scheduler
from llama4coder.kv.sizing import kv_bytes_per_block
from llama4coder.parallel.plan import RankPlan
from llama4coder.progress import NullProgress
from llama4coder.shape import read_shape
from llama4coder.types import GenerateRequest
from tests.support.engines import build_engine, expect_short_outputs, greedy_request, resolved, run_all
from tests.support.host_counts import HostCounts
from tests.support.models import write_tiny_llama
from tests.support.scheduling import (
    BLOCK_SIZE,
    CONTEXT,
    Pipeline,
    expect_outputs,
    expected_tokens,
    make_scheduler,
    request,
)

DOCUMENTS = [random.Random(number).choices(range(100), k=CONTEXT) for number in range(5)]


def run(pipeline: Pipeline, *requests: GenerateRequest) -> None:
    for each in requests:
        pipeline.scheduler.add(each, arrival_s=0.0)
    while pipeline.has_work:
        pipeline.step()


@dataclass(frozen=True)
class Arrival:
    """The beginning of a document, and some steps; perhaps the abort of an earlier request."""

    document: int
    num_prompt: int
    max_tokens: int
    num_steps: int
    aborts: bool


arrivals = st.lists(
    st.builds(
        Arrival,
        document=st.integers(0, len(DOCUMENTS) - 1),
        num_prompt=st.integers(4, 40),
        max_tokens=st.integers(1, 24),
        num_steps=st.integers(0, 12),
        aborts=st.sampled_from([False, False, True]),
    ),
    min_size=4,
    max_size=24,
)


@settings(max_examples=300, deadline=None)
@given(
    arrivals=arrivals,
    num_blocks=st.integers(16, 20),
    num_shards=st.integers(1, 4),
    host_slots=st.integers(1, 12),
    depth=st.integers(1, 3),
    guesses=st.none() | st.randoms(use_true_random=False),
)
def test_what_is_read_is_what_was_computed_wherever_it_has_been(
    arrivals: list[Arrival],
    num_blocks: int,
    num_shards: int,
    host_slots: int,
    depth: int,
    guesses: random.Random | None,
) -> None:
    """The rank checks every block that it reads."""
    scheduler = make_scheduler(-(-num_blocks // num_shards), num_shards, host_slots, max_step_tokens=24)
    expect_outputs(scheduler, 1)
    pipeline = Pipeline(scheduler, depth, guesses)
    received: dict[str, list[int]] = {}
    ended: set[str] = set()

    def step() -> None:
        for event in pipeline.step():
            received[event.request_id].extend(event.token_ids)
            if event.finish_reason is not None:
                ended.add(event.request_id)

    for index, arrival in enumerate(arrivals):
        received[str(index)] = []
        asked = request(str(index), DOCUMENTS[arrival.document][: arrival.num_prompt], arrival.max_tokens)
        scheduler.add(asked, arrival_s=float(index))
        for _ in range(arrival.num_steps):
            step()
        if arrival.aborts:
            scheduler.abort(str(index // 2))
            scheduler.check_integrity()
    while pipeline.has_work:
        step()
    scheduler.check_integrity()
    for index, arrival in enumerate(arrivals):
        if str(index) in ended:
            assert received[str(index)] == expected_tokens(arrival.num_prompt, arrival.max_tokens)


def outgrowing() -> list[GenerateRequest]:
    """Two that fit when they begin and not when they end."""
    return [request(str(number), DOCUMENTS[number][:20], 40) for number in range(2)]


def tight_scheduler(host_slots: int, **overrides: object) -> Scheduler:
    """In which one of `outgrowing` will be preempted."""
    scheduler = make_scheduler(18, host_slots=host_slots, **overrides)
    expect_outputs(scheduler, 1)
    return scheduler


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_preempted_sequence_goes_on_with_what_it_had_computed(depth: int) -> None:
    without, with_host = (Pipeline(tight_scheduler(slots), depth) for slots in (0, 20))
    run(without, *outgrowing())
    run(with_host, *outgrowing())
    assert without.scheduler.num_preemptions == with_host.scheduler.num_preemptions == 1
    assert with_host.rank.num_loaded > 0
    num_loaded_tokens = with_host.rank.num_loaded * BLOCK_SIZE
    assert with_host.num_computed == without.num_computed - num_loaded_tokens
    least = sum(20 + 40 - 1 for _ in range(2))
    assert with_host.num_computed < least + depth * BLOCK_SIZE, "what lies beyond its last full block is computed again"


def test_what_a_preempted_sequence_had_is_pinned_until_it_goes_on() -> None:
    scheduler = tight_scheduler(20)
    pipeline = Pipeline(scheduler, depth=1)
    for each in outgrowing():
        scheduler.add(each, arrival_s=0.0)
    seen = set()
    while pipeline.has_work:
        pipeline.step()
        seen.add((scheduler.num_preemptions, scheduler.num_waiting, bool(scheduler.pool.host.usage.pinned)))
    assert (1, 1, True) in seen
    assert {pinned for _, num_waiting, pinned in seen if not num_waiting} == {False}


def test_an_aborted_sequence_needs_nothing_any_more() -> None:
    scheduler = tight_scheduler(20)
    pipeline = Pipeline(scheduler, depth=1)
    for each in outgrowing():
        scheduler.add(each, arrival_s=0.0)
    while not scheduler.pool.host.usage.pinned:
        pipeline.step()
    scheduler.abort("1")
    usage = scheduler.pool.host.usage
    assert usage.pinned == 0 and usage.cached > 0
    scheduler.check_integrity()


def test_a_prompt_whose_log_probabilities_are_wanted_is_computed_whole_and_pins_nothing() -> None:
    scheduler = tight_scheduler(20)
    pipeline = Pipeline(scheduler, depth=1)
    first, second = outgrowing()
    wanting = replace(second, sampling=replace(second.sampling, num_prompt_logprobs=0))
    scheduler.add(first, arrival_s=0.0)
    scheduler.add(wanting, arrival_s=0.0)
    while pipeline.has_work:
        pipeline.step()
        assert scheduler.pool.host.usage.pinned == 0
    assert scheduler.num_preemptions == 1 and pipeline.rank.num_loaded == 0


def test_another_request_finds_a_prefix_on_the_host_and_it_is_counted() -> None:
    scheduler = make_scheduler(16, host_slots=16)
    pipeline = Pipeline(scheduler, depth=1)
    run(pipeline, request("first", DOCUMENTS[0][:30], 1))
    run(pipeline, request("other", DOCUMENTS[1][:58], 2))
    scheduler.add(request("again", DOCUMENTS[0][:30], 1), arrival_s=0.0)
    plan = scheduler.schedule()
    (admission,) = scheduler.admissions
    assert admission.num_cached_tokens == 28
    assert admission.num_host_tokens == len(plan.loads) * BLOCK_SIZE > 0
    assert plan.num_tokens == 2
    scheduler.commit(plan, pipeline.rank.execute(plan))


@pytest.mark.parametrize(("num_blocks", "host_slots"), [(64, 0), (16, 24)], ids=["in-blocks", "on-the-host"])
def test_another_salt_finds_nothing_and_waits_for_nobody(num_blocks: int, host_slots: int) -> None:
    scheduler = make_scheduler(num_blocks, host_slots=host_slots, max_step_tokens=60)
    pipeline = Pipeline(scheduler, depth=1)
    asked = request("first", DOCUMENTS[0][:24], 1)
    for salt in ("", "one"):
        scheduler.add(replace(asked, request_id=f"at once {salt}", cache_salt=salt), arrival_s=0.0)
    plan = scheduler.schedule()
    assert len(plan.rows) == 2, "the same prompt, and neither waits for the other to compute it"
    scheduler.commit(plan, pipeline.rank.execute(plan))
    for salt, num_cached in (("one", 20), ("two", 0), ("two", 20), ("", 20)):
        scheduler.add(replace(asked, request_id=f"later {salt}", cache_salt=salt), arrival_s=0.0)
        plan = scheduler.schedule()
        assert [admission.num_cached_tokens for admission in scheduler.admissions] == [num_cached]
        scheduler.commit(plan, pipeline.rank.execute(plan))


def test_without_prefix_caching_nothing_moves() -> None:
    pipeline = Pipeline(tight_scheduler(20, prefix_caching=False), depth=2)
    run(pipeline, *outgrowing())
    assert pipeline.scheduler.num_preemptions == 1
    assert not pipeline.rank.kept


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny")
    write_tiny_llama(path)
    return path


def tight_engine(folder: Path, host_blocks: int) -> Engine:
    """With a pool for one full sequence."""
    host_bytes = host_blocks * kv_bytes_per_block(RankPlan.alone(read_shape(folder)), "float32")
    engine = build_engine(resolved(folder, num_blocks=33, host_memory_bytes=host_bytes))
    expect_short_outputs(engine)
    return engine


def prompt(seed: int, length: int) -> list[int]:
    return torch.randint(0, 512, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def test_a_small_pool_with_host_memory_generates_what_a_large_one_does(folder: Path) -> None:
    requests = [greedy_request(str(i), prompt(i, 40 + 7 * i), 60) for i in range(12)]
    expected = run_all(build_engine(resolved(folder, num_blocks=400)), requests)
    num_computed = {}
    for host_blocks in (0, 20, 100):  # 20 are too few for all that is preempted, and may keep only what does not help
        engine = tight_engine(folder, host_blocks)
        counted = HostCounts(engine)
        results = run_all(engine, requests)
        assert {key: value.token_ids for key, value in results.items()} == {k: v.token_ids for k, v in expected.items()}
        assert engine.scheduler.num_preemptions > 0
        assert host_blocks == 20 or bool(counted.num_loaded) == bool(host_blocks)
        num_computed[host_blocks] = counted.num_computed
        stats = engine.stats()
        assert stats.num_pinned_host_blocks == 0
        assert stats.num_cached_host_blocks + stats.num_free_host_blocks == host_blocks
    assert num_computed[100] < num_computed[0]


def test_a_prefix_that_lies_on_the_host_is_found_by_the_same_salt_alone(folder: Path) -> None:
    engine = tight_engine(folder, 100)
    counted = HostCounts(engine)
    asked = replace(greedy_request("first", prompt(0, 300), 8), cache_salt="one")
    expected = run_all(engine, [asked])["first"].token_ids
    run_all(engine, [greedy_request("other", prompt(1, 490), 8)])
    assert counted.num_host_tokens == 0
    other = run_all(engine, [replace(asked, request_id="third", cache_salt="two")])["third"]
    assert (other.num_cached_tokens, other.token_ids, counted.num_host_tokens) == (0, expected, 0)
    run_all(engine, [greedy_request("another", prompt(2, 490), 8)])
    again = run_all(engine, [replace(asked, request_id="again")])["again"]
    assert again.token_ids == expected
    assert again.num_cached_tokens == 288
    assert 0 < counted.num_host_tokens <= 288


def test_saves_come_before_loads_and_both_before_rows(folder: Path) -> None:
    log: list[str] = []

    class Recorder:
        def save(self, moves: object) -> None:
            log.append("save")

        def load(self, moves: object) -> None:
            log.append("load")

    runner = load_runner(resolved(folder, num_blocks=33, host_memory_bytes=2**20), NullProgress())
    forward = runner._forward
    runner._host = Recorder()
    runner._forward = lambda plan, wanted: (log.append("rows"), forward(plan, wanted))[1]
    scheduler = make_scheduler()
    scheduler.add(request("a", [1, 2, 3], 1), arrival_s=0.0)
    runner.execute(scheduler.schedule())
    assert log == ["save", "load", "rows"]
