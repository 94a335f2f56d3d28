"""Numbers as Grafana shows them."""

import math
import re
from collections.abc import Mapping, Sequence

from dashboards.panels import Unit
from llama4coder.planner.svg import nice_ticks

_LABEL = re.compile(r"\{\{(\w+)\}\}")
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_BINARY = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_SUFFIXES: Mapping[Unit, str] = {Unit.REQUESTS_PER_S: " req/s", Unit.PER_S: "/s", Unit.DAYS: " d"}


def told(value: float, unit: Unit) -> str:
    """Three digits and a unit."""
    if math.isnan(value):
        return "none"
    if unit is Unit.SHARE:
        return f"{_digits(100 * value)}%"
    if unit is Unit.SECONDS:
        return f"{_digits(1e3 * value)} ms" if abs(value) < 1 else f"{_digits(value)} s"
    if unit is Unit.BYTES:
        return _scaled(value, _BINARY) or f"{_digits(value)} B"
    return (_scaled(value, _PREFIXES) or _digits(value)) + _SUFFIXES.get(unit, "")


def ticks(low: float, high: float, unit: Unit) -> Sequence[float]:
    """Round figures on both sides of zero; bytes in powers of two."""
    size = next((each for each, _ in _BINARY if high - low >= each), 1) if unit is Unit.BYTES else 1
    above = [size * tick for tick in nice_ticks(high / size)] if high > 0 else [0.0]
    step = above[1] if len(above) > 1 else high - low
    return [-step * number for number in range(1, int(-low / step) + 1)] + above


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _scaled(value: float, prefixes: Sequence[tuple[float, str]]) -> str:
    return next((f"{value / size:.3g} {name}" for size, name in prefixes if abs(value) >= size), "")


def legend(template: str, labels: Mapping[str, str]) -> str:
    return _LABEL.sub(lambda found: labels.get(found[1], ""), template).strip() or "none"
