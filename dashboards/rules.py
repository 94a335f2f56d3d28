"""What a rule is, and how Prometheus reads a group of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import yaml

RUNBOOK = "docs/runbook.md"


class Severity(StrEnum):
    """Whom it concerns."""

    PAGE = "page"  # somebody now
    TICKET = "ticket"  # somebody soon


@dataclass(frozen=True, slots=True)
class Recording:
    """A query that is answered once for many; `labels` are added to what it gives."""

    record: str
    expression: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alert:
    """A condition under which somebody is told; `hold` is how long it must last."""

    name: str
    severity: str
    expression: str
    hold: str
    summary: str
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def runbook(self) -> str:
        """Its section, by the anchor that the heading has."""
        return f"{RUNBOOK}#{self.name.lower()}"


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated one after the other."""

    name: str
    rules: Sequence[Recording | Alert]


class _Folded(yaml.SafeDumper):
    """Nothing is written by reference."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def rule_file(groups: Sequence[Group], header: str) -> str:
    content = {"groups": [{"name": group.name, "rules": [_rule(rule) for rule in group.rules]} for group in groups]}
    return header + as_yaml(content)


def as_yaml(content: Mapping[str, Any]) -> str:
    return yaml.dump(content, Dumper=_Folded, sort_keys=False, allow_unicode=True, width=116)


def _rule(rule: Recording | Alert) -> Mapping[str, Any]:
    if isinstance(rule, Recording):
        labels = {"labels": dict(rule.labels)} if rule.labels else {}
        return {"record": rule.record, "expr": rule.expression, **labels}
    return {
        "alert": rule.name,
        "expr": rule.expression,
        "for": rule.hold,
        "labels": {"severity": rule.severity, **rule.labels},
        "annotations": {"summary": rule.summary, "runbook": rule.runbook},
    }
