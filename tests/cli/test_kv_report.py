"""A page of metrics becomes a report, whichever of the series it has."""

import pytest
from prometheus_client import CollectorRegistry

from llama4coder.cli.kv_report import Figure, KVReport, columns, read_report
from llama4coder.obs.merge import merge
from llama4coder.obs.metrics import Metrics
from tests.support.engine_stats import engine_stats

PAGE = """
# HELP llama4coder_kv_blocks KV blocks of the pool by state
# TYPE llama4coder_kv_blocks gauge
llama4coder_kv_blocks{replica="b",state="used"} 30.0
llama4coder_kv_blocks{replica="b",state="free"} 70.0
llama4coder_kv_blocks{replica="a",state="used"} 1.0
# HELP llama4coder_kv_promised_blocks Promised
# TYPE llama4coder_kv_promised_blocks gauge
llama4coder_kv_promised_blocks{replica="a"} 5.0
llama4coder_kv_promised_blocks{replica="front"} 0.0
# HELP llama4coder_host_blocks Places in host memory
# TYPE llama4coder_host_blocks gauge
llama4coder_host_blocks{replica="a",state="pinned"} 7.0
# HELP llama4coder_queue_depth_requests Waiting
# TYPE llama4coder_queue_depth_requests gauge
llama4coder_queue_depth_requests{priority="batch",replica="a"} 2.0
llama4coder_queue_depth_requests{priority="batch",replica="b"} 3.0
# HELP llama4coder_kv_novelties_total What nobody here has heard of
# TYPE llama4coder_kv_novelties_total counter
llama4coder_kv_novelties_total 4.0
# HELP llama4coder_input_tokens_total Prompt tokens admitted
# TYPE llama4coder_input_tokens_total counter
llama4coder_input_tokens_total 100.0
# HELP llama4coder_cached_input_tokens_total Found
# TYPE llama4coder_cached_input_tokens_total counter
llama4coder_cached_input_tokens_total 25.0
# HELP llama4coder_step_time_seconds Not about blocks
# TYPE llama4coder_step_time_seconds histogram
llama4coder_step_time_seconds_sum 1.0
# HELP other_kv_blocks Another program's
# TYPE other_kv_blocks gauge
other_kv_blocks{state="used"} 9.0
"""


def tokens(admitted: float, cached: float) -> KVReport:
    return read_report(
        "# TYPE llama4coder_input_tokens_total counter\n"
        f"llama4coder_input_tokens_total {admitted}\n"
        "# TYPE llama4coder_cached_input_tokens_total counter\n"
        f"llama4coder_cached_input_tokens_total {cached}\n"
    )


def test_pools_are_told_apart_and_processes_without_one_left_out() -> None:
    report = read_report(PAGE)
    assert [place.labels for place in report.places] == [{"replica": "a"}, {"replica": "b"}]
    assert [place.pool for place in report.places] == [{"used": 1}, {"used": 30, "free": 70}]
    assert [place.beside for place in report.places] == [{"promised": 5, "host pinned": 7}, {}]
    assert report.places[1].num_blocks == 100
    assert columns(report.places) == (["used", "free"], ["promised", "host pinned"])


def test_figures_are_summed_over_replicas_and_unknown_ones_shown() -> None:
    assert [(figure.meaning, figure.labels, figure.value) for figure in read_report(PAGE).figures] == [
        ("sequences waiting", {"priority": "batch"}, 5.0),
        ("prompt tokens admitted", {}, 100.0),
        ("prompt tokens found cached", {}, 25.0),
        ("What nobody here has heard of", {}, 4.0),
    ]


def test_ranks_are_places_of_their_own() -> None:
    pages = [f'llama4coder_kv_blocks{{replica="a",rank="{rank}",state="free"}} {rank}\n' for rank in (0, 1)]
    report = read_report("# TYPE llama4coder_kv_blocks gauge\n" + "".join(pages))
    assert [(place.labels["rank"], place.pool) for place in report.places] == [("0", {"free": 0}), ("1", {"free": 1})]


def test_hit_rate() -> None:
    assert read_report(PAGE).hit_rate == 0.25
    assert tokens(0, 0).hit_rate is None
    assert tokens(300, 100).since(tokens(100, 0), 2.0).recent_hit_rate == 0.5
    assert tokens(100, 0).since(tokens(100, 0), 2.0).recent_hit_rate is None


def test_rates_are_of_totals_that_grew() -> None:
    later = tokens(300, 10).since(tokens(100, 20), 2.0)
    assert [figure.per_s for figure in later.figures] == [100.0, None]
    assert {figure.per_s for figure in read_report(PAGE).since(read_report(PAGE), 1.0).figures} == {0.0, None}
    gauge = next(figure for figure in read_report(PAGE).since(read_report(PAGE), 1.0).figures if not figure.is_total)
    assert gauge.per_s is None


def test_totals_that_are_new_grew_from_nothing() -> None:
    later = read_report(PAGE).since(tokens(0, 0), 2.0)
    novelty = next(figure for figure in later.figures if figure.name == "kv_novelties")
    assert novelty == Figure("kv_novelties", "What nobody here has heard of", {}, 4.0, True, 2.0)


def test_what_the_product_declares_is_understood() -> None:
    """A front that has no blocks, and an engine that has."""
    front, engine = Metrics(CollectorRegistry()), Metrics(CollectorRegistry())
    blocks = {"num_blocks": 10, "num_used_blocks": 4, "num_cached_blocks": 5, "num_free_blocks": 1}
    engine.on_state(engine_stats(num_running=1, num_waiting=2, num_waiting_tokens=3, **blocks))
    report = read_report(merge({"front": front.render(), "engine": engine.render()}).decode())
    (place,) = report.places
    assert (place.labels, place.pool) == ({"replica": "engine"}, {"used": 4, "cached": 5, "free": 1})
    assert report.hit_rate is None
    values = {figure.name: figure.value for figure in report.figures}
    assert values["running_requests"] == 1.0
    assert values["queue_depth_tokens"] == 3.0
    assert values["admission_rejections"] == 0.0, "a series by reason, and there was none"


@pytest.mark.parametrize("page", ["", "up 1\n", "<html>no</html>", "llama4coder_kv_blocks{\n", "# TYPE llama4coder_x"])
def test_pages_that_are_none(page: str) -> None:
    with pytest.raises(ValueError):
        read_report(page)
