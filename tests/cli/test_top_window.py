"""Rates, quantiles and restarts, by arithmetic alone."""

import math
import re

import pytest

from llama4coder.cli.top_sections import Report, Unit, report_of
from llama4coder.cli.top_window import History, Page, Window, quantile


def page(at_s: float, *lines: str) -> Page:
    """Samples like `name{label="a"} 1`, with the type that their names tell; beside one that every page has."""
    families: dict[str, list[str]] = {"# TYPE llama4coder_active_streams gauge": ["active_streams 1"]}
    for line in lines:
        name = re.split("[{ ]", line)[0]
        kind = (
            "counter" if name.endswith("_total") else "histogram" if name.endswith(("_bucket", "_count")) else "gauge"
        )
        base = re.sub("_(bucket|count)$", "", name)
        families.setdefault(f"# TYPE llama4coder_{base} {kind}", []).append(line)
    text = "".join(f"{head}\n" + "".join(f"llama4coder_{line}\n" for line in of) for head, of in families.items())
    return Page.read(text, at_s)


def window(before: tuple[str, ...], after: tuple[str, ...], length_s: float = 2.0) -> Window:
    return Window(page(10.0, *before), page(10.0 + length_s, *after))


def numbers(report: Report) -> dict[tuple[str, str, str], tuple[float, Unit]]:
    return {
        (section.title, row.name, item.name): (item.value, item.unit)
        for section in report.sections
        for row in section.rows
        for item in row.items
    }


def test_rates_are_differences_by_label() -> None:
    seen = window(
        ('requests_total{api="a",code="200",model="m"} 10', 'requests_total{api="b",code="200",model="m"} 1'),
        (
            'requests_total{api="a",code="200",model="m"} 14',
            'requests_total{api="b",code="200",model="m"} 2',
            'requests_total{api="a",code="429",model="m"} 3',
        ),
    )
    report = report_of(seen)
    assert report.models == ("m",)
    shown = numbers(report)
    assert shown["requests", "", "all"] == (4.0, Unit.PER_S)
    assert shown["requests", "", "200"] == (2.5, Unit.PER_S)
    assert shown["requests", "", "429"] == (1.5, Unit.PER_S), "a series that was not there counts from nothing"


def test_quantiles_are_of_the_window_alone() -> None:
    """However many slow ones there were before."""
    name = "time_to_first_token_seconds_bucket"
    before = (f'{name}{{le="0.1"}} 0', f'{name}{{le="0.2"}} 0', f'{name}{{le="5.0"}} 900', f'{name}{{le="+Inf"}} 900')
    after = (
        f'{name}{{le="0.1"}} 0',
        f'{name}{{le="0.2"}} 100',
        f'{name}{{le="5.0"}} 1000',
        f'{name}{{le="+Inf"}} 1000',
    )
    shown = numbers(report_of(window(before, after)))
    assert [shown["latency", "first token", key][0] for key in ("p50", "p95", "p99")] == [
        pytest.approx(value) for value in (0.15, 0.195, 0.199)
    ]
    assert not [key for key in numbers(report_of(window(after, after))) if key[0] == "latency"], "nothing happened"


@pytest.mark.parametrize(
    ("cumulated", "share", "value"),
    [
        (((1.0, 4), (2.0, 8), (math.inf, 8)), 0.5, 1.0),
        (((1.0, 4), (2.0, 8), (math.inf, 8)), 0.75, 1.5),
        (((1.0, 4), (2.0, 4), (math.inf, 8)), 0.99, 2.0),
        (((1.0, 0), (2.0, 0), (math.inf, 8)), 0.5, 2.0),
        (((1.0, 8), (2.0, 8), (math.inf, 8)), 1.0, 1.0),
        (((1.0, 8), (math.inf, 8)), 0.0, 0.0),
    ],
)
def test_quantile_as_prometheus_has_it(cumulated: tuple[tuple[float, float], ...], share: float, value: float) -> None:
    assert quantile(cumulated, share) == value


def test_generated_tokens_leave_wrong_guesses_out() -> None:
    before = ('step_tokens_total{phase="prefill"} 0', 'step_tokens_total{phase="decode"} 0')
    after = (
        'step_tokens_total{phase="prefill"} 300',
        'step_tokens_total{phase="decode"} 100',
        'draft_tokens_total{position="1"} 40',
        'draft_accepted_tokens_total{position="1"} 30',
        "time_to_first_token_seconds_count 6",
        "input_tokens_total 400",
        "cached_input_tokens_total 100",
        'draft_proposals_total{source="ngram"} 20',
        "draft_speedup_ratio 1.5",
    )
    shown = numbers(report_of(window(before, after)))
    assert shown["tokens", "", "out"] == (48.0, Unit.PER_S)
    assert shown["tokens", "", "in"] == (200.0, Unit.PER_S)
    assert shown["tokens", "", "prefilled"] == (150.0, Unit.PER_S)
    assert shown["prefixes", "", "hit rate"] == (0.25, Unit.SHARE)
    assert shown["drafts", "", "accepted"] == (0.75, Unit.SHARE)
    assert shown["drafts", "", "speedup"] == (1.5, Unit.TIMES)


def test_who_waits_for_room() -> None:
    waits = 'unplaced_replicas{deployment="TargetReplica",resource="GPU"} 2'
    shown = numbers(report_of(window((), (waits,))))
    assert shown["no room", "", "TargetReplica for want of GPU"] == (2.0, Unit.COUNT)


def test_sections_without_data_are_left_out() -> None:
    report = report_of(window((), ()))
    assert [section.title for section in report.sections] == ["requests"], "it has open streams"
    assert (report.models, report.num_replicas, report.places) == ((), 0, ())


def test_the_rest_of_the_figures() -> None:
    after = (
        'running_requests{replica="a"} 3',
        'queue_depth_requests{priority="batch",replica="a"} 2',
        'queue_depth_tokens{replica="a"} 70',
        'kv_blocks{replica="a",state="used"} 3',
        'kv_blocks{replica="b",state="used"} 3',
        'preemptions_total{outcome="restored"} 4',
        'admission_rejections_total{reason="queue_full"} 2',
        'key_refusals_total{reason="missing"} 6',
        'pool_lookups_total{result="hit"} 3',
        'pool_lookups_total{result="late"} 1',
        'pool_replicas{replica="a"} 2',
        'route_decisions_total{reason="prefix"} 5',
        'startup_seconds{phase="weights",replica="a"} 1.5',
        'startup_seconds{phase="weights",replica="b"} 2.5',
        'draft_fallbacks_total{reason="no_guess"} 5',
    )
    report = report_of(window((), after))
    shown = numbers(report)
    assert report.num_replicas == 2
    assert shown["queue", "", "running"][0] == 3
    assert shown["queue", "", "batch waiting"][0] == 2
    assert shown["queue", "preempted", "restored"] == (2.0, Unit.PER_S)
    assert shown["refused", "", "queue_full"] == (1.0, Unit.PER_S)
    assert shown["refused", "by key", "missing"] == (3.0, Unit.PER_S)
    assert shown["draft pool", "", "hit"] == (0.75, Unit.SHARE)
    assert shown["draft pool", "", "replicas"] == (2.0, Unit.COUNT)
    assert shown["routing", "", "prefix"] == (1.0, Unit.SHARE)
    assert shown["startup", "", "weights"] == (2.5, Unit.SECONDS), "of the slowest replica"
    assert shown["drafts", "none because", "no_guess"] == (1.0, Unit.SHARE)


def test_a_restart_begins_the_window_anew() -> None:
    """No rate is ever negative, nor made of what two lives of a server have counted."""
    history = History(60.0)
    assert history.add(page(0.0, "input_tokens_total 1000")) is None
    first = history.add(page(1.0, "input_tokens_total 1010"))
    assert first is not None and first.growth("input_tokens_total") == 10
    assert history.add(page(2.0, "input_tokens_total 4")) is None
    later = history.add(page(3.0, "input_tokens_total 6"))
    assert later is not None and (later.growth("input_tokens_total"), later.length_s) == (2, 1.0)
    assert history.add(page(4.0)) is None, "a counter that has gone is a restart, too"


def test_a_gauge_may_fall() -> None:
    history = History(60.0)
    history.add(page(0.0, "running_requests 9"))
    assert history.add(page(1.0, "running_requests 0")) is not None


def test_the_window_moves_on() -> None:
    history = History(10.0)
    lengths = []
    for at_s in range(25):
        seen = history.add(page(float(at_s), f"input_tokens_total {at_s}"))
        lengths.append(0.0 if seen is None else seen.length_s)
    assert lengths[:12] == [float(length) for length in (*range(11), 10)]
    assert set(lengths[11:]) == {10.0}
    seen = history.add(page(100.0, "input_tokens_total 100"))
    assert seen is not None and seen.length_s == 76.0, "after a gap, what there is"


@pytest.mark.parametrize("text", ["<html>", "# TYPE up gauge\nup 1\n"])
def test_what_is_no_page_of_ours(text: str) -> None:
    with pytest.raises(ValueError):
        Page.read(text, 0.0)
