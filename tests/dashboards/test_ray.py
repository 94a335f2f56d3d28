"""What panels ask of Ray: a running Ray's own exporters, found by its own list, answer all of it."""

import logging
import math
import shutil
import time
from collections.abc import Iterator, Mapping

import pytest
from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

from dashboards.generate import queries
from dashboards.ray_series import CLUSTER, RAY_SERIES
from tests.dashboards.load import until
from tests.dashboards.test_real_prometheus import filled
from tests.dashboards.watched import CALM, PLAN, Watched, watched_on_ray

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="Debian's package prometheus is not installed"),
]

CALM_S = 60.0
OF_GPUS = {name for name, metric in RAY_SERIES.items() if "GpuIndex" in metric.labels}


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with watched_on_ray(PLAN) as watched:
        clients = watched.clients()
        clients.start(2, CALM)
        until(lambda: False, CALM_S, watched.is_ready)
        yield watched
        clients.stop()


def test_every_query_has_data(watched: Watched) -> None:
    asked: Mapping[str, str] = {place: query for place, query in queries().items() if CLUSTER in query}
    assert len(asked) > 10
    now_s = time.time()
    answers = {place: watched.prometheus.lines(filled(query), now_s - 30, now_s, 5.0) for place, query in asked.items()}
    numbers = {place: [value for line in lines for value in line.values] for place, lines in answers.items()}
    assert {place for place, values in numbers.items() if not any(map(math.isfinite, values))} == set()


def test_series_are_there_and_have_their_labels(watched: Watched) -> None:
    missing = {}
    for name, metric in RAY_SERIES.items():
        found = watched.prometheus.query(f"last_over_time({name}[2m])")
        if not any(set(metric.labels) <= set(sample.labels) for sample in found):
            missing[name] = [sorted(sample.labels) for sample in found[:1]]
    assert set(missing) - OF_GPUS == set(), missing


def test_what_there_is_only_with_gpus_has_that_name_and_those_labels() -> None:
    for name in OF_GPUS:
        gauge = METRICS_GAUGES[name.removeprefix("ray_")]
        assert set(RAY_SERIES[name].labels) <= set(gauge.view.columns), name


def test_exporters_are_found_and_answer(watched: Watched) -> None:
    (up,) = watched.prometheus.query('count (up{job="ray", cluster="llama4coder"} == 1)')
    assert up.value >= 2, "of the node, and of the dashboard"
    ours = 'sum (ray_serve_deployment_replica_healthy{cluster="llama4coder", deployment="TargetReplica"})'
    (healthy,) = watched.prometheus.query(ours)
    assert healthy.value == 1
