"""Two looks at an endpoint's metrics, and what happened between them; no terminal, no clock, no socket."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

from llama4coder.cli.kv_report import Place, read_report

PREFIX = "llama4coder_"
_GROWING_TYPES = frozenset({"counter", "histogram"})
_Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Page:
    """One look: samples by their name, without our prefix, and labels; `growing` are those that only a restart cuts."""

    at_s: float
    samples: Mapping[str, Mapping[_Labels, float]]
    growing: frozenset[str]
    places: tuple[Place, ...]

    @classmethod
    def read(cls, text: str, at_s: float) -> Self:
        """A page in Prometheus text format; `ValueError` if it is none, or none of ours."""
        samples: dict[str, dict[_Labels, float]] = {}
        growing: set[str] = set()
        for family in text_string_to_metric_families(text):
            for sample in family.samples if family.name.startswith(PREFIX) else ():
                name = sample.name.removeprefix(PREFIX)
                samples.setdefault(name, {})[tuple(sorted(sample.labels.items()))] = sample.value
                if family.type in _GROWING_TYPES:
                    growing.add(name)
        return cls(at_s, samples, frozenset(growing), read_report(text).places)

    def fell_since(self, earlier: "Page") -> bool:
        """Whether anything that can only grow has fallen or gone: a server was started anew."""
        return any(
            self.samples.get(name, {}).get(labels, -math.inf) < value
            for name in earlier.growing
            for labels, value in earlier.samples[name].items()
        )


@dataclass(frozen=True, slots=True)
class Window:
    """The latest look, and an earlier one to compare it with."""

    earlier: Page
    latest: Page

    @property
    def length_s(self) -> float:
        return self.latest.at_s - self.earlier.at_s

    def values(self, name: str, label: str) -> dict[str, float]:
        """The latest values, summed by a label."""
        return _summed(self.latest.samples.get(name, {}).items(), label)

    def value(self, name: str) -> float | None:
        """The latest values of a gauge, summed; None if there is none."""
        found = self.latest.samples.get(name)
        return sum(found.values()) if found else None

    def highest(self, name: str) -> float | None:
        """The highest of a gauge's latest values; None if there is none."""
        return max(self.latest.samples.get(name, {}).values(), default=None)

    def growths(self, name: str, label: str) -> dict[str, float]:
        """By how much a counter has grown, by a label; what has never grown is left out."""
        totals = self.values(name, label)
        return {key: growth for key, growth in _summed(self._growths(name), label).items() if totals[key] > 0}

    def growth(self, name: str, **labels: str) -> float:
        """By how much a counter has grown, over all series that have these labels."""
        wanted = set(labels.items())
        return sum(growth for each, growth in self._growths(name) if wanted.issubset(each))

    def total(self, name: str) -> float:
        """What a counter has counted in all."""
        return sum(self.latest.samples.get(name, {}).values())

    def rate(self, name: str, **labels: str) -> float:
        """Growth per second."""
        return self.growth(name, **labels) / self.length_s

    def rates(self, name: str, label: str) -> dict[str, float]:
        """Growths per second."""
        return {key: growth / self.length_s for key, growth in self.growths(name, label).items()}

    def quantiles(self, name: str, shares: Sequence[float]) -> list[float] | None:
        """Of what a histogram has seen in the window; None if it has seen nothing."""
        buckets = _summed(self._growths(f"{name}_bucket"), "le")
        cumulated = sorted((float(bound), count) for bound, count in buckets.items())
        if not cumulated or cumulated[-1][1] <= 0:
            return None
        return [quantile(cumulated, share) for share in shares]

    def _growths(self, name: str) -> Iterator[tuple[_Labels, float]]:
        """Of each series; one that was not there before has grown from nothing."""
        before = self.earlier.samples.get(name, {})
        for labels, value in self.latest.samples.get(name, {}).items():
            yield labels, value - before.get(labels, 0.0)


class History:
    """The looks of the last `window_s` seconds; one that shows a restart begins them anew."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._pages: deque[Page] = deque()

    def add(self, page: Page) -> Window | None:
        """The widest window that ends with this page; None if it is the first one."""
        if self._pages and page.fell_since(self._pages[-1]):
            self._pages.clear()
        self._pages.append(page)
        while len(self._pages) > 2 and page.at_s - self._pages[1].at_s >= self._window_s:
            self._pages.popleft()
        return Window(self._pages[0], page) if len(self._pages) > 1 else None


def quantile(cumulated: Sequence[tuple[float, float]], share: float) -> float:
    """As Prometheus has it: on a line within its bucket; beyond the last finite bound it is that bound.

    `cumulated` are bounds with counts of what is not above them, in order, up to infinity.
    """
    rank = share * cumulated[-1][1]
    lower_bound, lower_count = 0.0, 0.0
    for bound, count in cumulated:
        if count >= rank and count > lower_count:
            if math.isinf(bound):
                return lower_bound
            return lower_bound + (bound - lower_bound) * (rank - lower_count) / (count - lower_count)
        lower_bound, lower_count = bound, count
    return lower_bound


def _summed(samples: Iterable[tuple[_Labels, float]], label: str) -> dict[str, float]:
    sums: dict[str, float] = {}
    for labels, value in samples:
        key = dict(labels).get(label, "")
        sums[key] = sums.get(key, 0.0) + value
    return sums
