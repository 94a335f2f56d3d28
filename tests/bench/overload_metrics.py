"""What the server's own metrics say."""

import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

_TIMEOUT_S = 10.0
_PREFIX = "llama4coder_"


@dataclass(frozen=True, slots=True)
class ServerMetrics:
    """Every sample, summed over replicas; keyed by its name, and by name and each of its labels' values."""

    values: Mapping[str, float]

    def __getitem__(self, key: str) -> float:
        """0 for what is not there: a series without events may be left out."""
        return self.values.get(key, 0.0)

    def since(self, earlier: "ServerMetrics", names: tuple[str, ...]) -> dict[str, float]:
        """How far the counters of these names have moved, those that have."""
        keys = [key for key in self.values if key.partition("{")[0] in names]
        return {key: moved for key in keys if (moved := self[key] - earlier[key])}


def scrape(url: str) -> ServerMetrics:
    """Ask the endpoint at `url`, without `/v1`."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"{url}/metrics", timeout=_TIMEOUT_S) as response:
        return parse(response.read().decode())


def parse(text: str) -> ServerMetrics:
    """Out of Prometheus text."""
    values: defaultdict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removeprefix(_PREFIX)
            values[name] += sample.value
            for label, value in sample.labels.items():
                values[f'{name}{{{label}="{value}"}}'] += sample.value
    return ServerMetrics(values)
