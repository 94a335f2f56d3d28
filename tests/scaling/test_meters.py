"""What replicas say of themselves, from what their engines say."""

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from llama4coder.obs.metrics import Metrics
from llama4coder.obs.pool import PoolLookup
from llama4coder.obs.stats import DraftStats, EngineStats, NullObserver, ShardBlocks, StepStats
from llama4coder.scaling.draft_meter import DraftMeter
from llama4coder.scaling.meter import LoadMeter
from llama4coder.scaling.pool_meter import PoolMeter, PoolUse
from llama4coder.spec.types import DraftSource

STATS = EngineStats(
    num_running=3,
    num_waiting=2,
    num_waiting_batch=0,
    num_waiting_tokens=320,
    num_blocks=100,
    num_used_blocks=20,
    num_cached_blocks=0,
    num_free_blocks=80,
    num_promised_blocks=30,
    num_cached_host_blocks=0,
    num_pinned_host_blocks=0,
    num_free_host_blocks=0,
    num_available_blocks=25,  # of each of two shards
    num_running_tokens=300,
    num_prefill_tokens=1000,
    num_evicted_blocks=0,
    shards=(ShardBlocks(10, 0, 40), ShardBlocks(10, 0, 40)),
)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def step(num_prefill_tokens: int, time_s: float) -> StepStats:
    return StepStats(time_s, time_s, num_prefill_tokens, 3, 0, 0)


def test_whoever_waits_counts_as_if_it_had_its_blocks() -> None:
    load = LoadMeter(NullObserver(), 16, 2, Clock()).load(STATS, num_arriving=1, num_arriving_tokens=160)
    assert load.kv_share == pytest.approx(0.5 + 0.2 + 0.1)
    assert load.num_streams == 6


def test_the_backlog_is_in_seconds_by_the_steps_that_computed_most() -> None:
    meter = LoadMeter(NullObserver(), 16, 2, Clock())
    assert meter.load(STATS).backlog_s == 0.0
    for _ in range(20):
        meter.on_step(step(500, 0.5))
        meter.on_step(step(1, 0.4))
        meter.on_step(step(0, 0.4))
    assert meter.load(STATS).backlog_s == pytest.approx(1.0, rel=0.01)


def test_prompts_take_a_share_of_the_time_at_the_pace_of_full_steps() -> None:
    """Steps with few of their tokens take no less than others, and tell nothing of how much more could be borne."""
    clock = Clock()
    meter = LoadMeter(NullObserver(), 16, 1, clock)
    for second in range(60):
        clock.now_s = second
        meter.on_step(step(500, 0.5))  # 1 ms a token
        meter.on_step(step(0, 0.2))
        meter.on_step(step(10, 0.2))
    assert meter.load(STATS).prefill_share == pytest.approx(0.51, rel=0.07)
    clock.now_s = 120.0
    assert meter.load(STATS).prefill_share == pytest.approx(0.0, abs=0.01)


def test_first_tokens_are_those_of_the_last_minute() -> None:
    clock = Clock()
    meter = LoadMeter(NullObserver(), 16, 1, clock)
    for number in range(1, 11):
        meter.on_first_token(number / 10)
    assert meter.load(STATS).ttft_s == 1.0
    clock.now_s = 61.0
    assert meter.load(STATS).ttft_s == 0.0


def test_all_is_passed_on() -> None:
    metrics = Metrics(CollectorRegistry())
    meter = LoadMeter(metrics, 16, 1, Clock())
    meter.on_step(step(500, 0.5))
    meter.on_first_token(0.5)
    meter.on_state(replace(STATS, num_running=7))
    text = metrics.render().decode()
    assert "llama4coder_engine_first_token_seconds_count 1.0" in text
    assert "llama4coder_running_requests 7.0" in text
    assert 'llama4coder_step_tokens_total{phase="prefill"} 500.0' in text


def judged(lookups: PoolLookup, speedup: float, *drafts: DraftStats) -> PoolMeter:
    meter = PoolMeter(Metrics(CollectorRegistry()), rest_s=60.0, clock=Clock())
    meter.on_pool_replicas(1)
    for _ in range(100):
        meter.on_pool_lookup(lookups)
        meter.on_drafts(drafts)
        meter.on_speedup(speedup)
    return meter


def test_the_gain_is_the_pools_part() -> None:
    ngram, pool = (DraftStats(source, 4, 2) for source in (DraftSource.NGRAM, DraftSource.POOL))
    assert judged(PoolLookup.HIT, 1.5, ngram, pool).use("a").gain == pytest.approx(1.25)
    assert judged(PoolLookup.HIT, 1.5, ngram).use("a").gain == 1.0
    assert judged(PoolLookup.NO_REPLICA, 1.5, ngram).use("a").gain == 0.0, "not known"
    assert judged(PoolLookup.LATE, 1.0).use("a").late_share == pytest.approx(1 - (63 / 64) ** 100)


def test_a_pool_that_nobody_asks_is_of_no_use() -> None:
    """As under load at which longer steps do not pay."""
    meter = PoolMeter(Metrics(CollectorRegistry()), rest_s=60.0, clock=Clock())
    for num_replicas in (0, 1):
        assert meter.use("a").gain == 0.0, "not known"
        meter.on_pool_replicas(num_replicas)
        for _ in range(1000):
            meter.on_drafts([])
            meter.on_speedup(1.0)
    assert meter.use("a").gain == 1.0
    meter.on_pool_replicas(0)
    assert meter.is_resting


def test_a_pool_that_was_of_no_use_is_left_alone_for_a_while_when_it_has_gone() -> None:
    useless = judged(PoolLookup.HIT, 1.5)
    assert not useless.is_resting
    useless.on_pool_replicas(0)
    assert useless.is_resting
    useful = judged(PoolLookup.HIT, 1.5, DraftStats(DraftSource.POOL, 4, 2))
    useful.on_pool_replicas(0)
    assert not useful.is_resting


def test_a_draft_replica_says_what_its_targets_say() -> None:
    meter = DraftMeter(now_s=100.0)
    meter.hear(PoolUse("a", late_share=0.2, gain=1.5), 105.0)
    meter.hear(PoolUse("b", late_share=0.4, gain=0.0), 106.0)
    load = meter.load(busy_s=5.0, num_sessions=3, now_s=110.0)
    assert load.busy_share == pytest.approx(0.5)
    assert load.late_share == pytest.approx(0.3)
    assert (load.num_sessions, load.gain) == (3, 1.5)
    later = meter.load(busy_s=99.0, num_sessions=3, now_s=120.0)
    assert (later.busy_share, later.late_share, later.gain) == (1.0, 0.0, 0.0)
