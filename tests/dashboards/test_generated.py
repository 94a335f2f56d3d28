"""The files are those that the declarations give, and ask for nothing that is not there."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.alerts import alert_groups
from dashboards.boards import BOARDS
from dashboards.generate import FOLDER, UndeclaredMetric, check_names, files, queries
from dashboards.ray_series import RAY_SERIES
from dashboards.rules import Alert
from dashboards.scraping import scrape_config
from llama4coder.obs.catalogue import declared_metrics

FILES = files()
REPOSITORY = FOLDER.parent
RUNBOOK = REPOSITORY / "docs/runbook.md"
ALERTS = [rule for group in alert_groups() for rule in group.rules if isinstance(rule, Alert)]
METRICS = {**declared_metrics(), **RAY_SERIES}

ADDED = {"deployment", "cluster", "replica", "job", "instance", "le"}  # by scraping, by the hub, and by histograms
RECORDED = {"pool", "figure", "resource"}
_MATCHERS = re.compile(r"((?:llama4coder|ray)_\w+)\{([^}]*)\}")
_LABEL = re.compile(r"(\w+)\s*[=!]")
_GROUPED = re.compile(r"\b(?:by|on|without) \(([^)]*)\)")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_file_is_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == FILES[path], "run `python -m dashboards`"


def test_no_other_file_lies_beside_them() -> None:
    generated = {path for path in FOLDER.rglob("*") if path.suffix in (".json", ".yml")}
    assert generated == set(FILES)


def test_a_metric_that_nobody_declares_is_refused() -> None:
    check_names({"a panel": "rate(llama4coder_requests_total[5m])"})
    for wrong in (
        "llama4coder_requests",
        "llama4coder_gone_total",
        "llama4coder:gone:ratio",
        "llama4coder_requests_total_bucket",
    ):
        with pytest.raises(UndeclaredMetric, match="a panel: nothing declares or records"):
            check_names({"a panel": f"sum ({wrong})"})


def test_labels_are_those_of_the_metrics() -> None:
    breaches = {place: unknown for place, query in queries().items() if (unknown := unknown_labels(query))}
    assert breaches == {}
    assert unknown_labels('sum by (pool) (llama4coder_requests_total{model="x", rank="0"})') == {"rank"}
    assert unknown_labels("sum by (rank) (llama4coder_requests_total)") == {"rank"}


def unknown_labels(query: str) -> set[str]:
    """Labels that none of the metrics has which they are asked of."""
    known = ADDED | RECORDED | {label for name, each in METRICS.items() if name in query for label in each.labels}
    unknown = {label for group in _GROUPED.findall(query) for label in re.findall(r"\w+", group)} - known
    for name, matchers in _MATCHERS.findall(query):
        unknown |= set(_LABEL.findall(matchers)) - ADDED - set(METRICS[name].labels)
    return unknown


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_panels_have_places_of_their_own(board: Any) -> None:
    panels = json.loads(FILES[FOLDER / "grafana" / f"{board.uid}.json"])["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    for one, other in itertools.combinations(places, 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y
    assert all(place["x"] + place["w"] <= 24 for place in places)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_nothing_is_loaded_from_elsewhere(board: Any) -> None:
    text = FILES[FOLDER / "grafana" / f"{board.uid}.json"]
    content = json.loads(text)
    assert {panel["type"] for panel in content["panels"]} <= {"row", "timeseries", "stat"}, "Grafana's own"
    sources = [panel["datasource"] for panel in content["panels"] if panel["type"] != "row"]
    assert all(source["uid"] == "${datasource}" for source in sources)
    assert all(panel["description"] for panel in content["panels"] if panel["type"] != "row")
    assert "://" not in text


def test_every_alert_has_a_section_and_every_section_an_alert() -> None:
    sections = re.split(r"^## ", RUNBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    by_name = {section.splitlines()[0]: section for section in sections}
    assert set(by_name) == {alert.name for alert in ALERTS}
    for name, section in by_name.items():
        for part in ("**Means:**", "**Look at:**", "**Do:**"):
            assert part in section, name
    assert {alert.runbook for alert in ALERTS} == {f"docs/runbook.md#{name.lower()}" for name in by_name}


def test_the_runbook_names_panels_that_there_are() -> None:
    titles = {panel.title for board in BOARDS for panel in board.panels}
    titles |= {section.title for board in BOARDS for section in board.sections}
    legends = {query.legend for board in BOARDS for panel in board.panels for query in panel.queries}
    named = set(re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", RUNBOOK.read_text(encoding="utf-8")))
    unknown = {
        name
        for name in (" ".join(each.split()) for each in named)
        if not any(title.startswith(name) for title in titles) and name not in legends | {"Status > Targets"}
    }
    assert named and unknown == set()


def test_the_runbook_and_the_alerts_agree_on_settings() -> None:
    """What the runbook tells to change can be changed."""
    from llama4coder import config

    sections = {"engine": config.EngineConfig, "server": config.ServerConfig, "speculation": config.SpeculationConfig}
    sections |= {"speculation.pool": config.PoolConfig, "speculation.draft": config.DraftConfig}
    text = RUNBOOK.read_text(encoding="utf-8")
    for section, name in re.findall(r"`((?:engine|server|speculation)(?:\.pool|\.draft)?)\.(\w+)", text):
        assert name in sections[section].model_fields, f"{section}.{name}"


def test_pods_are_scraped_with_the_labels_that_queries_ask_for() -> None:
    configured, rays = scrape_config()["scrape_configs"]
    added = [{"job": configured["job_name"], **configured["static_configs"][0]["labels"]}]
    added += [
        {"job": rays["job_name"], **{each["target_label"]: each["replacement"] for each in rays["relabel_configs"]}}
    ]
    monitors = yaml.safe_load_all((REPOSITORY / "deploy/kuberay/base/monitor.yaml").read_text(encoding="utf-8"))
    endpoints = [monitor["spec"]["podMetricsEndpoints"][0] for monitor in monitors]
    fixed = [
        {each["targetLabel"]: each["replacement"] for each in endpoint["relabelings"] if "replacement" in each}
        for endpoint in endpoints
    ]
    assert fixed == added
