"""What `llama4coder top` says of a window of metrics, section by section; one without data is left out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from llama4coder.cli.kv_report import Place
from llama4coder.cli.top_window import Window

_QUANTILES: Mapping[str, float] = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_INPUT, _CACHED, _HOST = "input_tokens_total", "cached_input_tokens_total", "host_input_tokens_total"


class Unit(StrEnum):
    """What a number is."""

    COUNT = "count"
    PER_S = "per_s"
    SECONDS = "s"
    SHARE = "share"
    TIMES = "times"


@dataclass(frozen=True, slots=True)
class Item:
    """One number and what it says."""

    name: str
    value: float
    unit: Unit


@dataclass(frozen=True, slots=True)
class Row:
    """Numbers that belong together."""

    name: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """What stands under one heading."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """One screen; rates, shares and quantiles are of the last `window_s` seconds."""

    models: tuple[str, ...]
    num_replicas: int
    window_s: float
    sections: tuple[Section, ...]
    places: tuple[Place, ...]


def report_of(window: Window) -> Report:
    """All that there is to say."""
    found = (
        ("requests", _requests(window)),
        ("latency", _latency(window)),
        ("tokens", _tokens(window)),
        ("queue", _queue(window)),
        ("refused", _refused(window)),
        ("prefixes", _prefixes(window)),
        ("drafts", _drafts(window)),
        ("draft pool", _pool(window)),
        ("routing", _routing(window)),
        ("startup", _startup(window)),
        ("no room", _unplaced(window)),
    )
    sections = tuple(Section(title, tuple(row for row in rows if row.items)) for title, rows in found)
    places = window.latest.places
    return Report(
        models=tuple(filter(None, window.growths("requests_total", "model"))),
        num_replicas=len({place.labels.get("replica") for place in places}),
        window_s=window.length_s,
        sections=tuple(section for section in sections if section.rows),
        places=places,
    )


def _requests(window: Window) -> Iterator[Row]:
    rates = window.rates("requests_total", "code")
    if rates:
        yield Row("", (Item("all", sum(rates.values()), Unit.PER_S), *_each(rates, Unit.PER_S)))
    streams = window.value("active_streams")
    seen = [Item("open streams", streams, Unit.COUNT)] if streams is not None else []
    for name, counter in (("clients gone", "client_disconnects_total"), ("recovered", "recovered_requests_total")):
        if window.total(counter) > 0:
            seen.append(Item(name, window.rate(counter), Unit.PER_S))
    yield Row("", tuple(seen))


def _latency(window: Window) -> Iterator[Row]:
    for name, histogram in (
        ("first token", "time_to_first_token_seconds"),
        ("between tokens", "inter_token_latency_seconds"),
        ("in queue", "queue_time_seconds"),
        ("request", "request_duration_seconds"),
    ):
        yield Row(name, _quantiles(window, histogram))


def _tokens(window: Window) -> Iterator[Row]:
    if window.total("step_tokens_total") > 0:
        admitted = Item("in", window.rate(_INPUT), Unit.PER_S)
        generated = Item("out", _generated(window) / window.length_s, Unit.PER_S)
        prefilled = Item("prefilled", window.rate("step_tokens_total", phase="prefill"), Unit.PER_S)
        yield Row("", (admitted, generated, prefilled))


def _generated(window: Window) -> float:
    """Tokens decoded but for wrong guesses, and first tokens, which come of prefill; others are counted at the end."""
    wrong = window.growth("draft_tokens_total") - window.growth("draft_accepted_tokens_total")
    first = window.growth("time_to_first_token_seconds_count")
    return max(0.0, window.growth("step_tokens_total", phase="decode") - wrong + first)


def _queue(window: Window) -> Iterator[Row]:
    running = window.value("running_requests")
    waiting = window.values("queue_depth_requests", "priority")
    if running is not None and window.latest.places:
        tokens = window.value("queue_depth_tokens") or 0.0
        waits = [Item(f"{name} waiting", value, Unit.COUNT) for name, value in waiting.items() if name]
        yield Row("", (Item("running", running, Unit.COUNT), *waits, Item("tokens waiting", tokens, Unit.COUNT)))
    yield Row("preempted", _each(window.rates("preemptions_total", "outcome"), Unit.PER_S))


def _refused(window: Window) -> Iterator[Row]:
    yield Row("", _each(window.rates("admission_rejections_total", "reason"), Unit.PER_S))
    yield Row("by key", _each(window.rates("key_refusals_total", "reason"), Unit.PER_S))


def _prefixes(window: Window) -> Iterator[Row]:
    items = [_share("hit rate", window.growth(_CACHED), window.growth(_INPUT))]
    items.append(_share("since start", window.total(_CACHED), window.total(_INPUT)))
    if window.total(_HOST) > 0:
        items.append(_share("from host memory", window.growth(_HOST), window.growth(_INPUT)))
    predicted = window.growth("prefix_hit_predicted_tokens_total")
    items.append(_share("of what the router expected", window.growth("prefix_hit_actual_tokens_total"), predicted))
    yield Row("", tuple(item for item in items if item is not None))


def _drafts(window: Window) -> Iterator[Row]:
    drafted, accepted = window.growth("draft_tokens_total"), window.growth("draft_accepted_tokens_total")
    speedup = window.highest("draft_speedup_ratio") if window.total("draft_proposals_total") > 0 else None
    acceptance = _share("accepted", accepted, drafted)
    items = [acceptance] if acceptance is not None else []
    if speedup:
        items.append(Item("speedup", speedup, Unit.TIMES))
    yield Row("", (*items, *_each(window.rates("draft_proposals_total", "source"), Unit.PER_S)))
    yield Row("none because", _shares(window.growths("draft_fallbacks_total", "reason")))


def _pool(window: Window) -> Iterator[Row]:
    replicas = window.highest("pool_replicas")
    known = [Item("replicas", replicas, Unit.COUNT)] if replicas else []
    yield Row("", (*known, *_shares(window.growths("pool_lookups_total", "result"))))
    yield Row("round trip", _quantiles(window, "pool_round_trip_seconds"))


def _routing(window: Window) -> Iterator[Row]:
    yield Row("", _shares(window.growths("route_decisions_total", "reason")))
    yield Row("choosing", _quantiles(window, "routing_overhead_seconds"))


def _startup(window: Window) -> Iterator[Row]:
    phases: dict[str, float] = {}
    for labels, value in window.latest.samples.get("startup_seconds", {}).items():
        phase = dict(labels).get("phase", "")
        phases[phase] = max(value, phases.get(phase, 0.0))
    yield Row("", _each(phases, Unit.SECONDS))


def _unplaced(window: Window) -> Iterator[Row]:
    found = [(dict(labels), value) for labels, value in window.latest.samples.get("unplaced_replicas", {}).items()]
    waits = [
        Item(f"{each.get('deployment')} for want of {each.get('resource')}", value, Unit.COUNT) for each, value in found
    ]
    yield Row("", tuple(waits))


def _quantiles(window: Window, histogram: str) -> tuple[Item, ...]:
    values = window.quantiles(histogram, tuple(_QUANTILES.values()))
    if values is None:
        return ()
    return tuple(Item(name, value, Unit.SECONDS) for name, value in zip(_QUANTILES, values, strict=True))


def _each(values: Mapping[str, float], unit: Unit) -> tuple[Item, ...]:
    return tuple(Item(name, value, unit) for name, value in sorted(values.items()))


def _shares(growths: Mapping[str, float]) -> tuple[Item, ...]:
    """Of those that have grown."""
    total = sum(growths.values())
    return tuple(Item(name, growth / total, Unit.SHARE) for name, growth in sorted(growths.items()) if growth > 0)


def _share(name: str, part: float, whole: float) -> Item | None:
    return Item(name, part / whole, Unit.SHARE) if whole > 0 else None
