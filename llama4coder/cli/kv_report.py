"""What an endpoint's metrics say about KV blocks: whichever series it has, since they grow with the product."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

_PREFIX = "llama4coder_"
_POOL = "kv_blocks"
_BLOCKS = "_blocks"
_STATE, _REPLICA = "state", "replica"
_INPUT, _CACHED_INPUT = "input_tokens", "cached_input_tokens"
_SHOWN_KINDS = frozenset({"counter", "gauge"})

# In the order of the screen; what belongs to the subject and is not here follows under its own description.
_KNOWN: Mapping[str, str] = MappingProxyType(
    {
        "running_requests": "sequences running",
        "queue_depth_requests": "sequences waiting",
        "queue_depth_tokens": "prompt tokens waiting",
        _INPUT: "prompt tokens admitted",
        _CACHED_INPUT: "prompt tokens found cached",
        "host_input_tokens": "prompt tokens found in host memory",
        "preemptions": "preemptions",
        "readmitted_tokens": "tokens of preempted sequences",
        "admission_rejections": "refusals",
        "host_saved_blocks": "blocks copied to host memory",
        "host_loaded_blocks": "blocks copied back from host memory",
    }
)
_SUBJECT = ("kv_", "host_", "queue_depth_", "preempt", "admission_", "prefix_")


@dataclass(frozen=True, slots=True)
class Place:
    """The blocks of one pool; `labels` tell which, such as its replica and rank."""

    labels: Mapping[str, str]
    pool: Mapping[str, int]
    """Blocks by state; each block is in one."""
    beside: Mapping[str, int]
    """Further counts: blocks that are promised, places in host memory."""

    @property
    def num_blocks(self) -> int:
        return sum(self.pool.values())


@dataclass(frozen=True, slots=True)
class Figure:
    """One number over all replicas; `per_s` is how fast it grew, where that was watched."""

    name: str
    meaning: str
    labels: Mapping[str, str]
    value: float
    is_total: bool
    per_s: float | None = None


@dataclass(frozen=True, slots=True)
class KVReport:
    """Everything there is; hit rates are shares of prompt tokens, None where there were none."""

    places: tuple[Place, ...]
    figures: tuple[Figure, ...]
    hit_rate: float | None
    recent_hit_rate: float | None = None

    def since(self, earlier: "KVReport", elapsed_s: float) -> "KVReport":
        """The same with rates; what has fallen, since a server was started anew, has none."""
        before = {_key(figure): figure.value for figure in earlier.figures}
        growths = {_key(figure): figure.value - before.get(_key(figure), 0.0) for figure in self.figures}
        figures = tuple(
            replace(figure, per_s=growth / elapsed_s) if figure.is_total and growth >= 0 else figure
            for figure, growth in zip(self.figures, growths.values(), strict=True)
        )
        named = {name: growth for (name, _), growth in growths.items()}
        return replace(self, figures=figures, recent_hit_rate=_share(named))


def read_report(text: str) -> KVReport:
    """The report of a Prometheus page.

    Raises:
        ValueError: the text is not in Prometheus format, or none of its series is ours.
    """
    families = {
        family.name.removeprefix(_PREFIX): family
        for family in text_string_to_metric_families(text)
        if family.name.startswith(_PREFIX) and family.type in _SHOWN_KINDS
    }
    if not families:
        raise ValueError("no series of llama4coder")
    figures = tuple(figure for name in _in_order(families) for figure in _figures(name, families[name]))
    return KVReport(tuple(_places(families)), figures, _share({figure.name: figure.value for figure in figures}))


def _in_order(families: Mapping[str, Metric]) -> list[str]:
    known = [name for name in _KNOWN if name in families]
    others = (name for name in families if name.startswith(_SUBJECT) and name not in _KNOWN)
    return known + sorted(name for name in others if not _is_per_place(name, families[name]) and not _is_share(name))


def _is_share(name: str) -> bool:
    """Shares of several replicas do not add up."""
    return name.endswith("_ratio")


def _is_per_place(name: str, family: Metric) -> bool:
    return name.endswith(_BLOCKS) and family.type == "gauge"


def _figures(name: str, family: Metric) -> Iterator[Figure]:
    """One per set of labels, summed over replicas; a zero where nothing has been counted yet."""
    values: dict[tuple[tuple[str, str], ...], float] = {}
    for sample in family.samples:
        labels = tuple(sorted((label, value) for label, value in sample.labels.items() if label != _REPLICA))
        values[labels] = values.get(labels, 0.0) + sample.value
    meaning = _KNOWN.get(name, family.documentation)
    for labels, value in (values or {(): 0.0}).items():
        yield Figure(name, meaning, dict(labels), value, is_total=family.type == "counter")


def _places(families: Mapping[str, Metric]) -> Iterator[Place]:
    """One per pool; processes that have none show their other gauges of blocks in vain."""
    found: dict[tuple[tuple[str, str], ...], tuple[dict[str, int], dict[str, int]]] = {}
    for name, family in families.items():
        if _is_per_place(name, family):
            for sample in family.samples:
                labels = tuple(sorted((label, value) for label, value in sample.labels.items() if label != _STATE))
                pool, beside = found.setdefault(labels, ({}, {}))
                column = _column(name, sample.labels.get(_STATE))
                (pool if name == _POOL else beside)[column] = int(sample.value)
    for labels, (pool, beside) in sorted(found.items()):
        if pool:
            yield Place(dict(labels), pool, beside)


def _column(name: str, state: str | None) -> str:
    """`used` for `kv_blocks{state="used"}`, `host free` for `host_blocks{state="free"}`."""
    words = [word for word in name.split("_") if word not in ("kv", "blocks")]
    return " ".join(words + ([state] if state else [])) or "blocks"


def _share(tokens: Mapping[str, float]) -> float | None:
    admitted = tokens.get(_INPUT, 0.0)
    return tokens.get(_CACHED_INPUT, 0.0) / admitted if admitted > 0 else None


def _key(figure: Figure) -> tuple[str, tuple[tuple[str, str], ...]]:
    return figure.name, tuple(figure.labels.items())


def columns(places: Iterable[Place]) -> tuple[list[str], list[str]]:
    """Every state of a pool, and every further count, that any place has; in the order of their first sight."""
    pools: dict[str, None] = {}
    beside: dict[str, None] = {}
    for place in places:
        pools |= dict.fromkeys(place.pool)
        beside |= dict.fromkeys(place.beside)
    return list(pools), list(beside)
