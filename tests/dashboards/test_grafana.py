"""Grafana's own types, of its Foundation SDK, read every dashboard: no field is lost, each choice is one of theirs."""

import json
import typing
from collections.abc import Iterator, Mapping
from enum import EnumType
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import prometheus, timeseries
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.boards import BOARDS
from dashboards.generate import FOLDER, files

register_default_plugins()
FILES = files()
OF_THE_DATA_SOURCE = {".annotations.list[0].titleFormat"}  # Prometheus's, which Grafana's types leave to it


def content(uid: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(FILES[FOLDER / "grafana" / f"{uid}.json"])
    return read


def written(dashboard: Dashboard) -> object:
    return json.loads(json.dumps(dashboard, cls=JSONEncoder))


def lost(ours: object, theirs: object, place: str = "") -> Iterator[str]:
    """Where theirs has nothing, or something else; what it adds are defaults."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name, value in ours.items():
            yield from lost(value, theirs.get(name), f"{place}.{name}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, pair in enumerate(zip(ours, theirs, strict=True)):
            yield from lost(*pair, f"{place}[{number}]")
    elif ours != theirs:
        yield place


def odd_choices(decoded: object, place: str = "") -> Iterator[str]:
    """Values of decoded objects that the enumerations which they are declared to be do not have."""
    if isinstance(decoded, list):
        for number, each in enumerate(decoded):
            yield from odd_choices(each, f"{place}[{number}]")
    elif type(decoded).__module__.startswith("grafana_foundation_sdk.models"):
        hints: Mapping[str, Any] = typing.get_type_hints(type(decoded))
        for name, value in vars(decoded).items():
            choices = [each for each in (hints[name], *typing.get_args(hints[name])) if isinstance(each, EnumType)]
            if value is not None and choices and not any(value in list(each) for each in choices):
                yield f"{place}.{name} = {value}"
            yield from odd_choices(value, f"{place}.{name}")


@pytest.mark.parametrize("uid", [board.uid for board in BOARDS])
def test_grafanas_types_take_all_of_it(uid: str) -> None:
    ours = content(uid)
    dashboard = Dashboard.from_json(ours)
    assert set(lost(ours, written(dashboard))) == OF_THE_DATA_SOURCE
    assert list(odd_choices(dashboard)) == []


def test_panels_and_queries_are_known_by_their_types() -> None:
    dashboard = Dashboard.from_json(content(BOARDS[0].uid))
    (lines,) = [panel for panel in dashboard.panels or [] if panel.title == "Time to first token"]
    assert isinstance(lines.options, timeseries.Options)
    assert isinstance(lines.field_config.defaults.custom, timeseries.FieldConfig)
    assert all(isinstance(target, prometheus.Dataquery) for target in lines.targets)


def test_what_grafana_does_not_know_is_found() -> None:
    ours = content(BOARDS[0].uid)
    panel = next(panel for panel in ours["panels"] if panel["type"] == "timeseries")
    panel["fieldConfig"]["defaults"]["custom"]["drawStyle"] = "scribbled"
    panel["options"]["tooltip"]["colour"] = "red"
    dashboard = Dashboard.from_json(ours)
    assert [place.rpartition(".")[2] for place in lost(ours, written(dashboard))] == ["titleFormat", "colour"]
    assert [place.rpartition(".")[2] for place in odd_choices(dashboard)] == ["draw_style = scribbled"]
