"""Merging adds what can be added and tells apart what cannot."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from llama4coder.obs.merge import merge

Key = tuple[str, tuple[tuple[str, str], ...]]
_REPLICAS = st.text("abcdefgh#0123456789-", min_size=1, max_size=6)
_LABELS = st.sampled_from(["stop", 'a "quoted" one', "back\\slash", "new\nline", "ünï"])
_PROCESSES = st.dictionaries(
    _REPLICAS,
    st.fixed_dictionaries(
        {
            "counts": st.dictionaries(_LABELS, st.integers(0, 1000), max_size=3),
            "gauge": st.integers(-1000, 1000),
            "observed": st.lists(st.integers(0, 20), max_size=10),
        }
    ),
    min_size=1,
    max_size=5,
)


def _render(process: Mapping[str, object]) -> bytes:
    registry = CollectorRegistry()
    counter = Counter("runs_total", "Runs \\ of\nthings", ("reason",), registry=registry)
    gauge = Gauge("depth", "Depth", registry=registry)
    histogram = Histogram("time_seconds", "Time", buckets=(1, 5, 10), registry=registry)
    for reason, count in process["counts"].items():  # type: ignore[attr-defined]
        counter.labels(reason).inc(count)
    gauge.set(process["gauge"])  # type: ignore[arg-type]
    for value in process["observed"]:  # type: ignore[attr-defined]
        histogram.observe(value)
    return generate_latest(registry)


def _samples(text: bytes) -> dict[Key, float]:
    samples: dict[Key, float] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in samples, "a series must not occur twice"
            samples[key] = sample.value
    return samples


@settings(deadline=None, max_examples=60)
@given(_PROCESSES)
def test_sums_and_replicas(processes: dict[str, dict[str, object]]) -> None:
    texts = {replica: _render(process) for replica, process in processes.items()}
    merged = _samples(merge(texts))
    parts = {replica: _samples(text) for replica, text in texts.items()}
    expected: dict[Key, float] = {}
    for replica, samples in parts.items():
        for (name, labels), value in samples.items():
            if name == "depth" or name.endswith("_created"):
                expected[name, tuple(sorted((*labels, ("replica", replica))))] = value
            else:
                expected[name, labels] = expected.get((name, labels), 0) + value
    assert merged == expected


@settings(deadline=None, max_examples=20)
@given(_PROCESSES)
def test_buckets_stay_cumulative_and_end_at_the_count(processes: dict[str, dict[str, object]]) -> None:
    merged = _samples(merge({replica: _render(process) for replica, process in processes.items()}))
    buckets = [merged["time_seconds_bucket", (("le", bound),)] for bound in ("1.0", "5.0", "10.0", "+Inf")]
    assert buckets == sorted(buckets)
    assert buckets[-1] == merged["time_seconds_count", ()]


def test_every_family_is_declared_once() -> None:
    process = {"counts": {"stop": 1}, "gauge": 1, "observed": [1]}
    text = merge({"a": _render(process), "b": _render(process)}).decode()
    declared = [line for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(declared) == len(set(declared))
    assert "# TYPE runs_total counter" in declared


def test_of_two_types_the_first_stays() -> None:
    first, second = CollectorRegistry(), CollectorRegistry()
    Gauge("depth", "Depth", registry=first).set(1)
    Histogram("depth", "Depth", registry=second).observe(2)
    merged = merge({"a": generate_latest(first), "b": generate_latest(second)}).decode()
    assert 'depth{replica="a"} 1.0' in merged
    assert "# TYPE depth histogram" not in merged
    assert "depth_bucket" not in merged


def test_nothing_gives_nothing() -> None:
    assert merge({}) == b""
    assert merge({"a": b""}) == b""


def test_what_is_no_metric_text_is_an_error() -> None:
    with pytest.raises(ValueError):
        merge({"a": b"{{{ nonsense"})
