"""What is declared, for whoever writes queries."""

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from llama4coder.obs.metrics import Metrics

_COUNTER, _HISTOGRAM = "counter", "histogram"


@dataclass(frozen=True, slots=True)
class DeclaredMetric:
    """One metric; `series` are the names that Prometheus has of it."""

    name: str
    kind: str  # Prometheus's word
    labels: tuple[str, ...]
    meaning: str

    @property
    def series(self) -> tuple[str, ...]:
        if self.kind == _HISTOGRAM:
            return tuple(f"{self.name}{suffix}" for suffix in ("_bucket", "_sum", "_count"))
        return (f"{self.name}_total" if self.kind == _COUNTER else self.name,)


def declared_metrics() -> Mapping[str, DeclaredMetric]:
    """Every metric of `Metrics`, by the names of its series."""
    found = [_declared(each) for each in vars(Metrics(CollectorRegistry())).values() if _is_metric(each)]
    return {series: metric for metric in found for series in metric.series}


def _is_metric(value: object) -> bool:
    return isinstance(value, MetricWrapperBase)


def _declared(metric: MetricWrapperBase) -> DeclaredMetric:
    (family,) = metric.describe()
    return DeclaredMetric(family.name, family.type, tuple(metric._labelnames), family.documentation)
