"""Several processes' metric texts as one: counters and histograms summed, gauges told apart."""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

REPLICA_LABEL = "replica"
_SUMMED_TYPES = frozenset({"counter", "histogram"})
_Labels = tuple[tuple[str, str], ...]


class _Family:
    """One metric over all processes; samples keep the order in which they were first seen."""

    def __init__(self, name: str, documentation: str, kind: str) -> None:
        self.name = name
        self.documentation = documentation
        self.kind = kind
        self._values: dict[tuple[str, _Labels], float] = {}

    def add(self, replica: str, metric: Metric) -> None:
        for sample in metric.samples:
            own_label = {} if self.kind in _SUMMED_TYPES else {REPLICA_LABEL: replica}
            key = sample.name, tuple(sorted((sample.labels | own_label).items()))
            self._values[key] = self._values.get(key, 0.0) + sample.value

    def to_metric(self) -> Metric:
        metric = Metric(self.name, self.documentation, self.kind)
        for (name, labels), value in self._values.items():
            metric.add_sample(name, dict(labels), value)
        return metric


class _Collected(Collector):
    def __init__(self, families: Iterable[_Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            yield family.to_metric()


def merge(texts: Mapping[str, bytes]) -> bytes:
    """One Prometheus text out of each process's, keyed by replica.

    The processes declare the same metrics: a name that has another type in a later text keeps its first type and
    that text's samples of it are left out. Whatever is not summed gets a `replica` label. Raises `ValueError` for a
    text that is not in Prometheus format.
    """
    families: dict[str, _Family] = {}
    for replica, text in texts.items():
        for metric in text_string_to_metric_families(text.decode("utf-8")):
            family = families.setdefault(metric.name, _Family(metric.name, metric.documentation, metric.type))
            if family.kind == metric.type:
                family.add(replica, metric)
    return generate_latest(_Collected(families.values()))
