"""Calibrations as files, and plans by them."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from llama4coder.errors import ConfigError
from llama4coder.planner.calibration import read_calibration
from llama4coder.planner.plan import make_plan
from llama4coder.planner.report import report_of
from llama4coder.planner.traffic import Work
from tests.planner.questions import WISH, question
from tests.support.calibrations import SERVING, calibration

ALONE = replace(WISH, ranks=1, quant="none")


def test_a_file_comes_back_as_it_was(tmp_path: Path) -> None:
    for written in (calibration(), calibration(serving=SERVING)):
        written.write(tmp_path / "table.yaml")
        assert read_calibration(tmp_path / "table.yaml") == written


def test_a_plan_by_measured_steps() -> None:
    asked = question("llama-3.2-1b", wish=ALONE, work=Work(100, 11), rate_per_s=0.01)
    plan = make_plan(replace(asked, calibration=calibration(serving=SERVING)))
    assert plan.fleet is not None
    idle = plan.fleet.idle
    assert idle.steady.itl_s == pytest.approx(0.1, rel=1e-3)
    assert idle.ttft.total_s == pytest.approx(0.25 + 0.1 + 0.1, rel=0.01), "the way, and a step of 101 tokens"
    report = report_of(plan)
    assert report.subject.calibration == "1000 measured steps of a running endpoint (0 loads) on Abacus 3, 2026-11-27"
    assert report_of(make_plan(asked)).subject.calibration is None


@pytest.mark.parametrize(
    ("model", "changes", "problem"),
    [
        ("llama-3.2-1b", {"kv_format": "fp8"}, "was made for kv_format dense instead of fp8: make one"),
        ("llama-3.2-1b", {"quant": "fp8"}, "was made for quant none instead of fp8"),
        ("llama-3.2-1b", {"ranks": 2}, "was made for heads_shards 1 instead of 2"),
        ("llama-3.2-3b", {}, "hidden_size 2048 instead of 3072, num_layers 16 instead of 28, num_heads 32 instead of"),
    ],
)
def test_a_calibration_for_something_else(model: str, changes: dict[str, object], problem: str) -> None:
    wish = replace(ALONE, **changes)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=problem):
        make_plan(question(model, wish=wish, calibration=calibration()))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"seconds": [0.2, 0.1]}, "steps: Value error, tokens must rise, and seconds must not fall"),
        ({"tokens": [8, 1]}, "tokens must rise"),
        ({"tokens": [1, 2, 3]}, "must be equally many"),
        ({"read_s": -1.0}, "steps.read_s: Input should be greater than or equal to 0"),
        ({"seconds": [0.0, 0.1]}, "steps.seconds.0: Input should be greater than 0"),
        ({"more": 1}, "steps.more: Extra inputs are not permitted"),
    ],
)
def test_tables_that_cannot_be(tmp_path: Path, changes: dict[str, object], problem: str) -> None:
    content = calibration().model_dump(mode="json")
    content["steps"] |= changes
    path = tmp_path / "table.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=f"table.yaml is no calibration, make one with .*{problem}"):
        read_calibration(path)


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_calibration(tmp_path / "nothing.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match=r"bad.yaml is not YAML"):
        read_calibration(tmp_path / "bad.yaml")
    with pytest.raises(ConfigError, match="cannot be written: Is a directory; name another with --out"):
        calibration().write(tmp_path)
