"""A dashboard as Grafana reads it (11 and later): no plugin, and the data source is a variable."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dashboards.panels import Board, Colour, Kind, Panel, Unit
from llama4coder.obs.catalogue import DeclaredMetric

Reads = Callable[[str], Iterable[DeclaredMetric]]
"""Which metrics a query rests on."""

SCHEMA_VERSION = 39  # Grafana 11's; later ones read it and bring it up to date
_WIDTH = 24
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_READY = "llama4coder_replica_ready"


@dataclass(frozen=True, slots=True)
class Size:
    """In the cells of Grafana's grid."""

    width: int
    height: int


SIZES: Mapping[Kind, Size] = {Kind.LINES: Size(8, 8), Kind.NUMBER: Size(4, 4)}


def dashboard(board: Board, reads: Reads) -> str:
    """Its file."""
    content = {
        "uid": board.uid,
        "title": board.title,
        "description": board.meaning,
        "tags": ["llama4coder"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,  # one time under the cursor, in every panel
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "links": [_link_to_the_others()],
        "annotations": {"list": [_alerts()]},
        "templating": {"list": list(_variables())},
        "panels": list(_panels(board, reads)),
    }
    return json.dumps(content, indent=2) + "\n"


def _variables() -> Iterator[Mapping[str, Any]]:
    yield {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    deployments = f"label_values({_READY}, deployment)"
    yield _query_variable("deployment", "Deployment", deployments, is_multi=False)
    replicas = f'label_values({_READY}{{deployment="$deployment"}}, replica)'
    yield _query_variable("replica", "Replica", replicas, is_multi=True)


def _query_variable(name: str, label: str, query: str, *, is_multi: bool) -> Mapping[str, Any]:
    everything = {"allValue": ".*", "current": {"text": "All", "value": "$__all"}}
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,  # when the time range changes: replicas come and go
        "sort": 1,
        "multi": is_multi,
        "includeAll": is_multi,
        **(everything if is_multi else {}),
    }


def _link_to_the_others() -> Mapping[str, Any]:
    return {
        "type": "dashboards",
        "title": "llama4coder",
        "tooltip": "",
        "icon": "external link",
        "tags": ["llama4coder"],
        "asDropdown": True,
        "targetBlank": False,
        "includeVars": True,
        "keepTime": True,
    }


def _alerts() -> Mapping[str, Any]:
    """Where an alert of this deployment fires, the panels show it."""
    return {
        "name": "Alerts",
        "datasource": _SOURCE,
        "enable": True,
        "iconColor": Colour.BAD.value,
        "expr": 'ALERTS{alertstate="firing", deployment="$deployment"}',
        "titleFormat": "{{alertname}}",
    }


def _panels(board: Board, reads: Reads) -> Iterator[Mapping[str, Any]]:
    """Rows of as many as there is room for, from the top."""
    number, y = 0, 0
    for section in board.sections:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": section.title,
            "collapsed": False,
            "gridPos": _place(0, y, Size(_WIDTH, 1)),
            "panels": [],
        }
        x, y, row_height = 0, y + 1, 0
        for panel in section.panels:
            size = SIZES[panel.kind]
            if x + size.width > _WIDTH or (x and size.height != row_height):
                x, y = 0, y + row_height
            number, row_height = number + 1, size.height
            yield {"id": number, "gridPos": _place(x, y, size), **_panel(panel, reads)}
            x += size.width
        y += row_height


def _place(x: int, y: int, size: Size) -> Mapping[str, int]:
    return {"x": x, "y": y, "w": size.width, "h": size.height}


def _panel(panel: Panel, reads: Reads) -> Mapping[str, Any]:
    return {
        "type": panel.kind.value,
        "title": panel.title,
        "description": describe(panel, reads),
        "datasource": _SOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _SOURCE,
                "expr": query.expression,
                "legendFormat": query.legend,
                "range": True,
            }
            for index, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _OPTIONS[panel.kind],
    }


_OPTIONS: Mapping[Kind, Mapping[str, Any]] = {
    Kind.LINES: {
        "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    Kind.NUMBER: {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "area",
        "textMode": "value",
        "justifyMode": "auto",
        "orientation": "auto",
        "percentChangeColorMode": "standard",
        "showPercentChange": False,
        "wideLayout": True,
    },
}


def _field(panel: Panel) -> Mapping[str, Any]:
    steps: list[Mapping[str, Any]] = [{"color": Colour.GOOD.value, "value": None}]
    steps += [{"color": threshold.colour.value, "value": threshold.value} for threshold in panel.thresholds]
    field: dict[str, Any] = {"unit": panel.unit.value, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.kind is Kind.NUMBER:
        whole = {"decimals": 0} if panel.unit is Unit.COUNT else {}  # `increase` extrapolates
        return field | {"color": {"mode": "thresholds"}, "noValue": "none", **whole}
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 30 if panel.is_stacked else 8,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if panel.is_stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if panel.thresholds else "off"},
    }
    limits: dict[str, float] = {"min": 0} if panel.lowest_is_zero else {}
    limits |= {} if panel.highest is None else {"max": panel.highest}
    return field | {"color": {"mode": "palette-classic"}, "custom": custom, **limits}


def describe(panel: Panel, reads: Reads) -> str:
    """Its own note, and what each of its metrics is declared to be."""
    read = [metric for query in panel.queries for metric in reads(query.expression)]
    told = {metric.name: metric.meaning for metric in read}
    lines = [f"`{name}`: {meaning}." for name, meaning in told.items()]
    return "\n\n".join([*([panel.note] if panel.note else []), *lines])
