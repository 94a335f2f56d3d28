"""Each alert fires on series that show its cause, and not on others, by promtool's own evaluation."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.alerts import alert_groups
from dashboards.generate import FOLDER
from dashboards.recording import recording_groups
from dashboards.rules import Alert
from tests.dashboards.alert_cases import CAPACITY, CAPACITY_TOO_SOON, CAPACITY_WITH_GAP, CASES, DEPLOYMENT, Case, Series

RULES = FOLDER / "prometheus/rules"

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (package prometheus)"
)


def promtool(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120)


@dataclass(frozen=True, slots=True)
class Expected:
    """What becomes of a case's alert on some series."""

    case: Case
    series: Series
    fires: bool


def both(case: Case) -> list[Expected]:
    return [Expected(case, case.fires, fires=True), Expected(case, case.quiet, fires=False)]


def check(folder: Path, expected: Sequence[Expected], interval: str) -> "subprocess.CompletedProcess[str]":
    """Evaluate all rules on all series at once; each case is a deployment of its own."""
    test = {
        "interval": interval,
        "input_series": [
            {"series": name.replace(DEPLOYMENT, f'deployment="{number}"'), "values": values}
            for number, one in enumerate(expected)
            for name, values in one.series.items()
        ],
        "promql_expr_test": [_expectation(number, one) for number, one in enumerate(expected)],
    }
    rules = [str(file) for file in sorted(RULES.glob("*.yml"))]
    file = folder / "tests.yml"
    order = [group.name for group in (*recording_groups(), *alert_groups())]  # any, if it is not said
    content = {"rule_files": rules, "evaluation_interval": interval, "group_eval_order": order, "tests": [test]}
    file.write_text(yaml.safe_dump(content))
    return promtool("test", "rules", file)


def _expectation(number: int, one: Expected) -> dict[str, Any]:
    case = one.case
    severity = f', severity="{case.severity}"' if case.severity else ""
    alerts = f'ALERTS{{alertstate="firing", deployment="{number}", alertname="{case.alert}"{severity}}}'
    samples = [{"labels": f'{{alertname="{case.alert}"}}', "value": 1}] if one.fires else []
    return {"expr": f"max by (alertname) ({alerts})", "eval_time": case.at, "exp_samples": samples}


def test_rules_and_configuration_are_valid() -> None:
    for arguments in (
        ("check", "rules", *RULES.glob("*.yml")),
        ("check", "config", FOLDER / "prometheus/prometheus.yml"),
    ):
        done = promtool(*arguments)
        assert done.returncode == 0, done.stderr


def test_every_alert_has_a_case() -> None:
    names = {rule.name for group in alert_groups() for rule in group.rules if isinstance(rule, Alert)}
    assert {case.alert for case in (*CASES, CAPACITY)} == names


def test_alerts_fire_on_their_cause_and_on_nothing_else(tmp_path: Path) -> None:
    done = check(tmp_path, [one for case in CASES for one in both(case)], "1m")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_trend_of_days(tmp_path: Path) -> None:
    cases = [*both(CAPACITY), *both(CAPACITY_WITH_GAP), both(CAPACITY_TOO_SOON)[1]]
    done = check(tmp_path, cases, "1h")
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_alert_that_does_not_fire_is_seen(tmp_path: Path) -> None:
    case = CASES[0]
    done = check(tmp_path, [Expected(case, case.quiet, fires=True)], "1m")
    assert done.returncode != 0
