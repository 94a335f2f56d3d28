"""Each alert fires on series that show its cause, and not on others, by promtool's own evaluation."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.alerts import alert_groups
from dashboards.generate import FOLDER
from dashboards.rules import Alert
from tests.dashboards.alert_cases import CAPACITY, CAPACITY_TOO_SOON, CASES, Case, Series

RULES = FOLDER / "prometheus/rules"

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (package prometheus)"
)


def promtool(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120)


def firing(case: Case) -> str:
    severity = f', severity="{case.severity}"' if case.severity else ""
    return f'max by (alertname) (ALERTS{{alertstate="firing", alertname="{case.alert}"{severity}}})'


def unit_test(case: Case, series: Series, interval: str, *, fires: bool) -> dict[str, Any]:
    samples = [{"labels": f'{{alertname="{case.alert}"}}', "value": 1}] if fires else []
    return {
        "name": f"{case.alert} {case.severity} {'fires' if fires else 'is quiet'}",
        "interval": interval,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": firing(case), "eval_time": case.at, "exp_samples": samples}],
    }


def check(folder: Path, tests: Sequence[dict[str, Any]], interval: str) -> "subprocess.CompletedProcess[str]":
    content = {
        "rule_files": [str(file) for file in sorted(RULES.glob("*.yml"))],
        "evaluation_interval": interval,
        "tests": list(tests),
    }
    file = folder / "tests.yml"
    file.write_text(yaml.safe_dump(content))
    return promtool("test", "rules", file)


def both(case: Case, interval: str = "1m") -> list[dict[str, Any]]:
    return [
        unit_test(case, case.fires, interval, fires=True),
        unit_test(case, case.quiet, interval, fires=False),
    ]


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
    done = check(tmp_path, [test for case in CASES for test in both(case)], "1m")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_trend_of_days(tmp_path: Path) -> None:
    too_soon = unit_test(CAPACITY_TOO_SOON, CAPACITY_TOO_SOON.quiet, "1h", fires=False)
    done = check(tmp_path, [*both(CAPACITY, "1h"), too_soon], "1h")
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_alert_that_does_not_fire_is_seen(tmp_path: Path) -> None:
    case = CASES[0]
    done = check(tmp_path, [unit_test(case, case.quiet, "1m", fires=True)], "1m")
    assert done.returncode != 0
