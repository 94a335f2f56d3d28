"""A real Prometheus scrapes a running deployment under load: every panel and rule has data, and alerts fire.

What `for:` says is shortened to nothing; everything else of the generated rules is as it is.
"""

import logging
import math
import shutil
import time
from collections.abc import Iterator, Mapping

import httpx
import pytest

from dashboards.alerts import alert_groups
from dashboards.generate import queries
from dashboards.promql import DEPLOYMENT as DEPLOYMENT_LABEL
from dashboards.recording import recording_groups
from dashboards.rules import Recording
from dashboards.scraping import DEPLOYMENT
from tests.dashboards.load import Ask, until
from tests.dashboards.watched import CALM, DRAFT, WRONG_PLAN, Watched, watched_deployment

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="Debian's package prometheus is not installed"),
]

CALM_S = 90.0
PATIENCE_S = 300.0
GREEDY = Ask(max_tokens=(600, 1200))
BRIEF = Ask(max_tokens=(2, 4))

BY_CAUSE = frozenset(
    {
        *("TargetDown", "NoReplicaReady", "ReplicaMissing", "ProbeFailing", "ReplicaRestarts", "RequestsRecovered"),
        *("ErrorBudgetBurn", "FirstTokenBudgetBurn", "KVAlmostFull", "RequestsRefused"),
        *("DraftPoolGone", "PlanTooFast", "PlanMemoryWrong", "LoadAbovePlan", "KeyRefusals"),
    }
)
"""The other alerts fire in tests/dashboards/test_real_causes.py."""

_log = logging.getLogger(__name__)  # told with `pytest --log-cli-level=INFO`


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with watched_deployment(WRONG_PLAN) as watched:
        yield watched


@pytest.fixture(scope="module")
def calm(watched: Watched) -> Iterator[Watched]:
    """After a while with a few clients, who go on."""
    clients = watched.clients()
    clients.start(4, CALM)
    until(lambda: False, CALM_S, watched.is_ready)
    assert clients.statuses[200] > 20
    yield watched
    clients.stop()
    _log.info("the few were told %s", clients.statuses)


def filled(expression: str, window: str = "2m") -> str:
    """With Grafana's variables as it would put them in."""
    values = {"$__rate_interval": window, "$deployment": DEPLOYMENT, "$replica": ".*"}
    for name, value in values.items():
        expression = expression.replace(name, value)
    return expression


def test_every_panel_has_data(calm: Watched) -> None:
    asked: Mapping[str, str] = {place: query for place, query in queries().items() if DEPLOYMENT_LABEL in query}
    now_s = time.time()
    answers = {
        place: calm.prometheus.lines(filled(query), now_s - CALM_S / 2, now_s, 2.0) for place, query in asked.items()
    }
    assert len(asked) > 100
    numbers = {place: [value for line in lines for value in line.values] for place, lines in answers.items()}
    assert [
        f"{place}: {asked[place]}" for place, values in numbers.items() if not any(map(math.isfinite, values))
    ] == []


def test_every_rule_is_evaluated(calm: Watched) -> None:
    assert calm.prometheus.rule_problems() == []
    names = {rule.record for group in recording_groups() for rule in group.rules if isinstance(rule, Recording)}
    missing = [name for name in names if not calm.prometheus.query(name)]
    assert missing == []


def test_what_is_recorded_is_true(calm: Watched) -> None:
    values = {sample.labels["figure"]: sample.value for sample in calm.prometheus.query("llama4coder:plan_error:ratio")}
    assert values["kv_bytes"] == pytest.approx(-0.5, abs=0.1), "the plan has twice as much"
    assert values["time_to_first_token"] > 0.5
    (ready,) = calm.prometheus.query('llama4coder:replicas:ready{pool="target"}')
    assert ready.value == 1
    assert fires(calm, "PlanTooFast", "PlanMemoryWrong")
    assert not calm.prometheus.ever_fired() & {
        "NoReplicaReady",
        "RequestsRefused",
        "RequestsRecovered",
        "ReplicaRestarts",
    }


def fires(watched: Watched, *names: str, timeout_s: float = PATIENCE_S) -> bool:
    """Whether all of them have fired, now or in time."""
    return until(lambda: set(names) <= watched.prometheus.ever_fired(), timeout_s)


def test_too_many_long_requests_fill_the_memory(calm: Watched) -> None:
    clients = calm.clients()
    clients.start(32, GREEDY)
    try:
        assert fires(calm, "KVAlmostFull", "RequestsRefused", "FirstTokenBudgetBurn", "ErrorBudgetBurn")
    finally:
        clients.stop()
    _log.info("overload: %s", clients.statuses)
    assert {429, 503} <= set(clients.statuses)


def test_many_short_requests_are_more_than_was_planned(calm: Watched) -> None:
    clients = calm.clients()
    clients.start(12, BRIEF)
    assert fires(calm, "LoadAbovePlan")
    clients.stop()


def test_wrong_keys(calm: Watched) -> None:
    for _ in range(120):
        httpx.get(f"{calm.url}/v1/models", headers={"authorization": "Bearer no"}, timeout=30)
    assert fires(calm, "KeyRefusals")


def test_lost_ranks(calm: Watched) -> None:
    """Again and again, until everything that follows from it has been seen."""
    clients = calm.clients()
    clients.start(4, Ask(max_tokens=(200,)))
    expected = ("NoReplicaReady", "ReplicaMissing", "ProbeFailing", "ReplicaRestarts", "RequestsRecovered")
    killed = 0

    def lose() -> None:
        nonlocal killed
        if until(calm.is_ready, 120):
            time.sleep(3)
            killed += calm.kill() is not None
            until(lambda: False, 5, calm.is_ready)

    assert until(lambda: set(expected) <= calm.prometheus.ever_fired(), 900, lose)
    _log.info("%d ranks were killed; clients were told %s", killed, clients.statuses)
    clients.stop()


def test_lost_drafts(calm: Watched) -> None:
    assert until(lambda: "DraftPoolGone" in calm.prometheus.ever_fired(), 300, lambda: calm.kill(DRAFT))
    assert until(lambda: bool(calm.find(DRAFT)), 120)


def test_a_server_that_is_stopped(calm: Watched) -> None:
    """The last test with this one."""
    calm.stop()
    down = 'ALERTS{alertname="TargetDown", alertstate="firing"}'
    assert until(lambda: bool(calm.prometheus.query(down)), 60)
    fired = calm.prometheus.ever_fired()
    every = {rule.name for group in alert_groups() for rule in group.rules if not isinstance(rule, Recording)}
    _log.info("fired by real causes: %s; not: %s", sorted(fired), sorted(every - fired))
    assert fired >= BY_CAUSE
