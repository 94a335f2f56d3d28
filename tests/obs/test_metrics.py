"""What the engine tells arrives in the text that Prometheus reads."""

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from llama4coder.config import PlanConfig
from llama4coder.obs.metrics import Metrics
from llama4coder.obs.pool import DraftObserver, PoolLookup, PoolObserver
from llama4coder.obs.replicas import Pool
from llama4coder.obs.routing import RouteReason, RoutingObserver
from llama4coder.obs.stats import (
    DraftFallback,
    DraftStats,
    EngineObserver,
    EngineStats,
    MemoryPart,
    MemoryStats,
    ShardBlocks,
    SpeculationObserver,
    StepStats,
)
from llama4coder.types import FinishReason
from tests.support.engine_stats import engine_stats

_OUTCOMES = ("restored", "recomputed", "abandoned")


def _samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def _by_only_label(samples: dict[tuple[str, tuple[tuple[str, str], ...]], float]) -> dict[tuple[str, str], float]:
    """Samples with one label, by its value."""
    return {(name, labels[0][1]): value for (name, labels), value in samples.items() if len(labels) == 1}


def test_an_engine_feeds_every_engine_metric() -> None:
    metrics = Metrics(CollectorRegistry())
    observer: EngineObserver = metrics
    state = EngineStats(
        num_running=2,
        num_waiting=3,
        num_waiting_batch=1,
        num_waiting_tokens=40,
        num_blocks=10,
        num_used_blocks=5,
        num_cached_blocks=1,
        num_free_blocks=4,
        num_promised_blocks=3,
        num_cached_host_blocks=6,
        num_pinned_host_blocks=2,
        num_free_host_blocks=1,
        num_available_blocks=5,
        num_running_tokens=60,
        num_prefill_tokens=30,
        num_evicted_blocks=11,
        shards=(ShardBlocks(4, 0, 1), ShardBlocks(1, 1, 3)),
    )
    observer.on_state(state)
    metrics.on_memory(MemoryStats({MemoryPart.WEIGHTS: 100, MemoryPart.KV: 50}, {MemoryPart.WEIGHTS: 101}))
    observer.on_step(StepStats(0.02, 0.015, 30, 2, num_saved_blocks=9, num_loaded_blocks=8))
    observer.on_admitted(0.5, 30, 16, num_host_tokens=12)
    observer.on_expired(2)
    observer.on_finished(FinishReason.STOP, 7)
    samples = _samples(metrics)
    expected = {
        "llama4coder_step_time_seconds_sum": 0.02,
        "llama4coder_model_time_seconds_sum": 0.015,
        "llama4coder_running_requests": 2,
        "llama4coder_kv_promised_blocks": 3,
        "llama4coder_queue_depth_tokens": 40,
        "llama4coder_queue_time_seconds_sum": 0.5,
        "llama4coder_input_tokens_total": 30,
        "llama4coder_cached_input_tokens_total": 16,
        "llama4coder_host_input_tokens_total": 12,
        "llama4coder_host_saved_blocks_total": 9,
        "llama4coder_host_loaded_blocks_total": 8,
        "llama4coder_output_tokens_total": 7,
    }
    assert {name: samples[(name, ())] for name in expected} == expected
    assert samples[("llama4coder_step_tokens_total", (("phase", "prefill"),))] == 30
    memory = {labels: value for (name, labels), value in samples.items() if name == "llama4coder_memory_bytes"}
    assert memory == {
        (("kind", "predicted"), ("part", "weights")): 100,
        (("kind", "predicted"), ("part", "kv")): 50,
        (("kind", "actual"), ("part", "weights")): 101,
    }
    assert samples[("llama4coder_step_tokens_total", (("phase", "decode"),))] == 2
    assert samples[("llama4coder_finished_total", (("reason", "stop"),))] == 1
    labelled = _by_only_label(samples)
    assert labelled["llama4coder_queue_depth_requests", "interactive"] == 2
    assert labelled["llama4coder_queue_depth_requests", "batch"] == 1
    assert labelled["llama4coder_admission_rejections_total", "queue_timeout"] == 2
    assert [labelled["llama4coder_kv_blocks", state] for state in ("used", "cached", "free")] == [5, 1, 4]
    assert [labelled["llama4coder_host_blocks", state] for state in ("cached", "pinned", "free")] == [6, 2, 1]


def test_the_fullest_shard_says_how_full_the_pool_is() -> None:
    metrics = Metrics(CollectorRegistry())
    shards = (ShardBlocks(4, 0, 1), ShardBlocks(1, 1, 3))
    metrics.on_state(engine_stats(num_used_blocks=5, num_available_blocks=1, shards=shards))
    samples = _samples(metrics)
    assert samples["llama4coder_kv_usage_ratio", ()] == 0.8
    assert samples["llama4coder_kv_shard_imbalance_ratio", ()] == pytest.approx(0.6)
    assert samples["llama4coder_kv_shard_blocks", (("shard", "1"), ("state", "free"))] == 3


def test_what_was_evicted_is_counted_once() -> None:
    metrics = Metrics(CollectorRegistry())
    for num_evicted in (2, 2, 5):
        metrics.on_state(engine_stats(num_evicted_blocks=num_evicted))
    assert _samples(metrics)["llama4coder_kv_evicted_blocks_total", ()] == 5


def test_a_replica_is_ready_until_it_fails() -> None:
    metrics = Metrics(CollectorRegistry())
    assert ("llama4coder_replica_ready", (("pool", "target"),)) not in _samples(metrics), "no replica, no zero"
    metrics.on_ready(Pool.TARGET)
    assert _samples(metrics)["llama4coder_replica_ready", (("pool", "target"),)] == 1
    metrics.on_failed(Pool.TARGET)
    samples = _samples(metrics)
    assert samples["llama4coder_replica_ready", (("pool", "target"),)] == 0
    assert samples["llama4coder_replica_starts_total", (("pool", "target"),)] == 1


def test_drafts_are_configured_only_where_there_are_some() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.show_configured(3, 0)
    configured = {
        labels: value for (name, labels), value in _samples(metrics).items() if name.endswith("_configured_replicas")
    }
    assert configured == {(("pool", "target"),): 3}


def test_memory_headroom_by_rank() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.on_headroom({0: 7, 1: 9})
    labelled = _by_only_label(_samples(metrics))
    assert [labelled["llama4coder_memory_headroom_bytes", rank] for rank in "01"] == [7, 9]


def test_every_figure_of_a_plan_is_shown() -> None:
    metrics = Metrics(CollectorRegistry())
    figures = {name: float(number) for number, name in enumerate(PlanConfig.model_fields, 1)}
    metrics.show_plan(PlanConfig.model_validate(figures))
    shown = {value for (name, _), value in _samples(metrics).items() if name.startswith("llama4coder_planned_")}
    assert shown == set(figures.values())


def test_preemptions_are_counted_by_what_came_of_them() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.on_readmitted(32, 5)
    metrics.on_readmitted(16, 20)
    metrics.on_readmitted(0, 3)
    metrics.on_abandoned()
    labelled = _by_only_label(_samples(metrics))
    preemptions = {value: labelled["llama4coder_preemptions_total", value] for value in _OUTCOMES}
    assert preemptions == {"restored": 1, "recomputed": 2, "abandoned": 1}
    assert labelled["llama4coder_readmitted_tokens_total", "restored"] == 48
    assert labelled["llama4coder_readmitted_tokens_total", "recomputed"] == 28


def test_speculation_feeds_every_draft_metric() -> None:
    metrics = Metrics(CollectorRegistry())
    observer: SpeculationObserver = metrics
    observer.on_drafts([DraftStats("ngram", 10, 9), DraftStats("ngram", 2, 1), DraftStats("pool", 1, 0)])
    observer.on_fallback(DraftFallback.NO_GUESS, 2)
    observer.on_fallback(DraftFallback.NOT_WORTH, 1)
    observer.on_speedup(1.7)
    samples = _samples(metrics)

    def by(name: str, label: str) -> dict[str, float]:
        values = {labels: value for (each, labels), value in samples.items() if each == f"llama4coder_draft_{name}"}
        return {labels[0][1]: value for labels, value in values.items() if labels[0][0] == label and value}

    assert by("proposals_total", "source") == {"ngram": 2, "pool": 1}
    assert by("tokens_total", "position") == {"1": 3, "2": 2} | {str(n): 1 for n in range(3, 9)} | {"more": 2}
    assert by("accepted_tokens_total", "position") == {"1": 2} | {str(n): 1 for n in range(2, 9)} | {"more": 1}
    assert by("fallbacks_total", "reason") == {"no_guess": 2, "not_worth": 1}
    assert samples[("llama4coder_draft_length_tokens_sum", ())] == 13
    assert samples[("llama4coder_draft_speedup_ratio", ())] == 1.7


def test_both_sides_of_the_pool_feed_its_metrics() -> None:
    metrics = Metrics(CollectorRegistry())
    target: PoolObserver = metrics
    for found in (PoolLookup.HIT, PoolLookup.HIT, PoolLookup.LATE):
        target.on_pool_lookup(found)
    target.on_pool_round_trip(0.01)
    target.on_pool_replicas(2)
    target.on_pool_frame_ignored()
    replica: DraftObserver = metrics
    replica.on_draft_round(0.004)
    replica.on_draft_sessions(7)
    replica.on_draft_frame_ignored()
    samples = {name.removeprefix("llama4coder_pool_"): value for (name, _), value in _samples(metrics).items() if value}
    lookups = {
        labels[0][1]: value for (name, labels), value in _samples(metrics).items() if name.endswith("lookups_total")
    }
    assert lookups == {"hit": 2, "late": 1, "miss": 0, "no_replica": 0, "opening": 0}
    assert (samples["round_trip_seconds_sum"], samples["round_seconds_sum"]) == (0.01, 0.004)
    assert (samples["replicas"], samples["sessions"], samples["ignored_frames_total"]) == (2, 7, 2)


def test_no_created_samples_and_one_prefix() -> None:
    names = {name for name, _ in _samples(Metrics(CollectorRegistry()))}
    assert names
    assert all(name.startswith("llama4coder_") and not name.endswith("_created") for name in names)


def test_two_processes_may_declare_the_same_metrics() -> None:
    first, second = Metrics(CollectorRegistry()), Metrics(CollectorRegistry())
    first.client_disconnects.inc()
    assert _samples(second)[("llama4coder_client_disconnects_total", ())] == 0


def test_a_router_feeds_its_metrics() -> None:
    metrics = Metrics(CollectorRegistry())
    observer: RoutingObserver = metrics
    observer.on_route(RouteReason.PREFIX, 48, overhead_s=0.001, report_age_s=0.25)
    observer.on_route(RouteReason.UNKNOWN, 0, overhead_s=0.002, report_age_s=0.0)
    observer.on_prefix(32)
    samples = _samples(metrics)
    expected = {
        "llama4coder_routing_overhead_seconds_sum": 0.003,
        "llama4coder_routing_overhead_seconds_count": 2,
        "llama4coder_prefix_hit_predicted_tokens_total": 48,
        "llama4coder_prefix_hit_actual_tokens_total": 32,
        "llama4coder_route_report_age_seconds": 0.0,
    }
    assert {name: samples[(name, ())] for name in expected} == expected
    assert samples[("llama4coder_route_decisions_total", (("reason", "prefix"),))] == 1
    assert samples[("llama4coder_route_decisions_total", (("reason", "unknown"),))] == 1
