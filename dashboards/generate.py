"""Every generated file, and the proof that what they ask for is declared."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from dashboards.alerts import alert_groups
from dashboards.boards import BOARDS
from dashboards.grafana import Reads, dashboard
from dashboards.promql import series_of
from dashboards.ray_series import RAY_SERIES
from dashboards.recording import recording_groups
from dashboards.rules import Recording, as_yaml, rule_file
from dashboards.scraping import dashboard_provider, data_source, scrape_config
from llama4coder.obs.catalogue import DeclaredMetric, declared_metrics

FOLDER = Path(__file__).parent
_HEADER = "# Made by `python -m dashboards`; change it there.\n"
_SCRAPING = """\
# For each deployment one address of its endpoint, and a label that tells it from others: every address tells of all
# of it, so that two of them would count it twice. Where there are API keys, it needs one: docs/dashboards.md.
#     authorization: {credentials_file: /etc/llama4coder/metrics.key}
# Ray's head writes the list of its nodes' exporters to the file below; it is absent where Ray exports nothing.
# The label `cluster` names the deployment that is on this Ray: panels ask for it.
"""


class UndeclaredMetric(ValueError):
    """A query asks for a series that nothing declares or records."""


def files() -> Mapping[Path, str]:
    """Every file and what it must hold.

    Raises:
        UndeclaredMetric: a panel or a rule asks for what is not there.
    """
    check_names(queries())
    reads = reads_of_queries()
    boards = {FOLDER / "grafana" / f"{board.uid}.json": dashboard(board, reads) for board in BOARDS}
    return boards | {
        FOLDER / "prometheus/prometheus.yml": _HEADER + _SCRAPING + as_yaml(scrape_config()),
        FOLDER / "prometheus/rules/recording.yml": rule_file(recording_groups(), _HEADER),
        FOLDER / "prometheus/rules/alerts.yml": rule_file(alert_groups(), _HEADER),
        FOLDER / "provisioning/datasources/llama4coder.yml": _HEADER + as_yaml(data_source()),
        FOLDER / "provisioning/dashboards/llama4coder.yml": _HEADER + as_yaml(dashboard_provider()),
    }


def queries() -> Mapping[str, str]:
    """Every query by where it stands."""
    found = {
        f"{board.uid}, {panel.title}, {query.legend}": query.expression
        for board in BOARDS
        for panel in board.panels
        for query in panel.queries
    }
    for group in (*recording_groups(), *alert_groups()):
        for number, rule in enumerate(group.rules):
            name = rule.record if isinstance(rule, Recording) else rule.name
            found[f"{group.name}, {name}, {number}"] = rule.expression
    return found


def check_names(asked: Mapping[str, str]) -> None:
    """Raise `UndeclaredMetric` for the first query that reads what nobody feeds."""
    known = {*declared_metrics(), *RAY_SERIES, *(rule.record for rule in _recordings())}
    for place, query in asked.items():
        for name in series_of(query):
            if name not in known:
                raise UndeclaredMetric(f"{place}: nothing declares or records {name}")


def reads_of_queries() -> Reads:
    """The declared metrics that a query rests on, by way of what is recorded, too."""
    metrics, recordings = {**declared_metrics(), **RAY_SERIES}, list(_recordings())

    def reads(query: str) -> Iterator[DeclaredMetric]:
        for name in series_of(query):
            if name in metrics:
                yield metrics[name]
            for rule in recordings:
                if rule.record == name:
                    yield from reads(rule.expression)

    return reads


def _recordings() -> Iterator[Recording]:
    return (rule for group in recording_groups() for rule in group.rules if isinstance(rule, Recording))
