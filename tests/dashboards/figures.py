"""Numbers as Grafana shows them."""

import math
import re
from collections.abc import Mapping

from dashboards.panels import Unit

_LABEL = re.compile(r"\{\{(\w+)\}\}")
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_BINARY = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_SUFFIXES: Mapping[Unit, str] = {Unit.REQUESTS_PER_S: " req/s", Unit.PER_S: "/s", Unit.DAYS: " d"}


def told(value: float, unit: Unit) -> str:
    """Three digits and a unit."""
    if math.isnan(value):
        return "none"
    if unit is Unit.SHARE:
        return f"{100 * value:.3g}%"
    if unit is Unit.SECONDS:
        return f"{1e3 * value:.3g} ms" if abs(value) < 1 else f"{value:.3g} s"
    if unit is Unit.BYTES:
        return _scaled(value, _BINARY, " ") or f"{value:.3g} B"
    return (_scaled(value, _PREFIXES, " ") or f"{value:.3g}") + _SUFFIXES.get(unit, "")


def _scaled(value: float, prefixes: tuple[tuple[float, str], ...], space: str) -> str:
    return next((f"{value / size:.3g}{space}{name}" for size, name in prefixes if abs(value) >= size), "")


def legend(template: str, labels: Mapping[str, str]) -> str:
    return _LABEL.sub(lambda found: labels.get(found[1], ""), template)
