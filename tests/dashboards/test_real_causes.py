"""The alerts that take days, or a whole machine's memory, or a process that stands still: fired by what causes them.

Days are ten seconds here, the minutes of a growing queue are a tenth, and the machine's memory is called low where a
GiB less than at the start is left: machines that run tests are not to be filled. `for:` is nothing, as in
`test_real_prometheus.py`, which has the other alerts.
"""

import logging
import shutil
import time
from collections.abc import Iterator

import pytest

from dashboards.alerts import alert_groups
from dashboards.objectives import HEADROOM_BYTES
from dashboards.rules import Alert
from tests.dashboards.load import Ask, Clients, until
from tests.dashboards.test_real_prometheus import BY_CAUSE
from tests.dashboards.watched import DRAFT, PLAN, TARGET, Watched, watched_deployment

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="Debian's package prometheus is not installed"),
]

DAY_S = 10
SHORTENED = {
    "[1d]": f"[{DAY_S}s]",
    "[7d]": f"[{7 * DAY_S}s]",
    "* 86400": f"* {DAY_S}",
    "offset 3d": f"offset {3 * DAY_S}s",
    "queue_depth:sum[5m]": "queue_depth:sum[30s]",
    "queue_depth:sum[10m]": "queue_depth:sum[60s]",
}
HOST = "127.0.0.1"
NUM_SLOTS = 8
LONG, BRIEF = Ask(max_tokens=(600, 1200)), Ask(max_tokens=(8,), pause_s=1.0)
CHUNK_BYTES, MOST_CHUNKS = 2**28, 12

_log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    """With a queue that is long and patient, and memory for what is expected of as many as may run."""
    logging.getLogger("httpx").setLevel(logging.WARNING)
    engine = {"max_sequences": NUM_SLOTS, "max_queued_requests": 200, "queue_timeout_s": 300, "kv_memory_bytes": 2**20}
    with watched_deployment({**PLAN, "max_sequences": NUM_SLOTS}, engine) as watched:
        watched.scrape(HOST, changes=SHORTENED)
        yield watched


@pytest.fixture(scope="module")
def clients(watched: Watched) -> Iterator[Clients]:
    """One at first; the tests add more, one after the other."""
    clients = watched.clients()
    clients.start(1, LONG)
    yield clients
    clients.stop()
    _log.info("they were told %s", clients.statuses)


def has_fired(watched: Watched, alert: str, where: str = "", since_s: float = 0.0) -> bool:
    labels = ", ".join(each for each in (f'alertname="{alert}"', where) if each)
    window_s = int(time.time() - since_s) + 1 if since_s else 86400
    return bool(watched.prometheus.query(f'max_over_time(ALERTS{{alertstate="firing", {labels}}}[{window_s}s])'))


def test_outputs_longer_than_was_expected(watched: Watched) -> None:
    """The first that there are, when 256 tokens are expected of each: later more is."""
    clients = watched.clients()
    clients.start(NUM_SLOTS + 4, LONG)
    assert until(lambda: has_fired(watched, "ManyPreemptions"), 180)
    clients.stop()


def test_a_load_that_grows_from_day_to_day(watched: Watched, clients: Clients) -> None:
    """Of `sequences`: rates over five minutes rise for as long, whatever the load, and days are shorter here."""

    def grows_too_fast() -> bool:
        return has_fired(watched, "CapacityRunsOut", 'resource="sequences"')

    assert not until(grows_too_fast, 8 * DAY_S), "of one sequence all the time"

    def a_day_with_one_more() -> None:
        if len(clients) < NUM_SLOTS:
            clients.start(1, LONG)
        until(lambda: False, DAY_S)

    assert until(grows_too_fast, 20 * DAY_S, a_day_with_one_more)


def test_more_and_more_who_wait(watched: Watched, clients: Clients) -> None:
    clients.start(NUM_SLOTS + 2 - len(clients), LONG)
    begun_s = time.time()

    def one_more() -> None:
        clients.start(1, LONG)
        until(lambda: False, 3)

    assert until(lambda: has_fired(watched, "QueueGrowing", since_s=begun_s), 150, one_more)
    clients.stop()


def test_metrics_that_are_scraped_twice(watched: Watched) -> None:
    assert not has_fired(watched, "ScrapedTwice")
    watched.scrape(HOST, "localhost", changes=SHORTENED)
    assert until(lambda: has_fired(watched, "ScrapedTwice"), 60)
    watched.scrape(HOST, changes=SHORTENED)


def test_a_replica_that_stands_still(watched: Watched) -> None:
    """It reports nothing, while requests still come."""
    assert not has_fired(watched, "RouterBlind")
    clients = watched.clients()

    def both() -> bool:
        causes = ('cause="silence"', 'cause="no_report"')
        return all(has_fired(watched, "RouterBlind", each) for each in causes)

    with watched.frozen(TARGET):
        assert until(both, 120, lambda: clients.start(1, BRIEF))
    assert until(watched.is_ready, 120)
    clients.stop()
    _log.info("beside a replica that stood still they were told %s", clients.statuses)


def test_a_draft_replica_that_stands_still(watched: Watched) -> None:
    clients = watched.clients()
    clients.start(2, LONG)

    def freeze() -> None:
        with watched.frozen(DRAFT):
            time.sleep(5)
        time.sleep(1)

    assert until(lambda: has_fired(watched, "DraftPoolLate"), 120, freeze)
    clients.stop()


def test_something_beside_it_takes_the_memory(watched: Watched) -> None:
    (left,) = watched.prometheus.query("min (llama4coder_memory_headroom_bytes)")
    limit = int(left.value) - HEADROOM_BYTES
    watched.scrape(HOST, changes={f"< {HEADROOM_BYTES}": f"< {limit}"})
    taken: list[bytes] = []

    def take() -> None:
        if len(taken) < MOST_CHUNKS:
            taken.append(b"\x01" * CHUNK_BYTES)

    assert until(lambda: has_fired(watched, "MemoryHeadroomLow"), 90, take)
    assert taken, "it was not low before"


def test_every_alert_has_fired_somewhere(watched: Watched) -> None:
    """The last test with this one."""
    every = {rule.name for group in alert_groups() for rule in group.rules if isinstance(rule, Alert)}
    assert watched.prometheus.rule_problems() == []
    assert every - BY_CAUSE <= watched.prometheus.ever_fired()
