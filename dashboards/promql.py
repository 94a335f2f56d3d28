"""Queries in PromQL, and which metrics a query reads.

Panels are about one deployment, `$deployment`; what has a replica is about `$replica`, which may be all of them.
"""

import re
from collections.abc import Iterator

WINDOW = "$__rate_interval"  # Grafana's: four scrapes at least
DEPLOYMENT = 'deployment="$deployment"'
REPLICA = 'replica=~"$replica"'
_IS_TARGET = 'and on (deployment, replica) llama4coder_replica_ready{pool="target"}'

_SERIES = re.compile(r"\b((?:llama4coder[_:]|ray_)[A-Za-z0-9_:]+)")


def recorded(series: str, where: str = "") -> str:
    """What a rule has recorded of this deployment."""
    return f"{series}{{{', '.join(each for each in (DEPLOYMENT, where) if each)}}}"


def rate(series: str, by: str = "", where: str = "") -> str:
    """Per second, over all processes."""
    matchers = ", ".join(each for each in (DEPLOYMENT, where) if each)
    return f"sum by ({by}) (rate({series}{{{matchers}}}[{WINDOW}]))"


def quantile(share: float, histogram: str, by: str = "", where: str = "") -> str:
    labels = ", ".join(each for each in ("le", by) if each)
    return f"histogram_quantile({share:g}, {rate(f'{histogram}_bucket', labels, where)})"


def of_targets(gauge: str) -> str:
    """By replica, where there is an engine: every process shows the gauges of all."""
    return f"{gauge}{{{DEPLOYMENT}, {REPLICA}}} {_IS_TARGET}"


def zero_if_none(query: str) -> str:
    """For what is counted under labels that come only with the first count: nothing is none."""
    return f"{query} or 0 * absent({query})"


def series_of(query: str) -> Iterator[str]:
    """Every name of ours or of Ray's that a query reads, recorded ones too."""
    yield from dict.fromkeys(_SERIES.findall(query))
