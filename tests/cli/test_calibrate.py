"""The calibrate command on a tiny model, what `plan` and `simulate` make of its file, and every error in one line."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from llama4coder.cli import calibrate, plan, simulate
from llama4coder.config import DeploymentConfig
from llama4coder.machine import Machine
from llama4coder.planner.calibration import Calibration, read_calibration
from llama4coder.progress import Progress
from tests.support.calibrations import SERVING, calibration
from tests.support.models import write_tiny_llama

SMALL = ("--max-sequences", "4", "--max-step-tokens", "32", "--context", "128")


class FakeCluster:
    """Implements `calibrate.Cluster`; remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[DeploymentConfig, str | None]] = []

    def measure(self, config: DeploymentConfig, address: str | None, progress: Progress) -> Calibration:
        self.asked.append((config, address))
        return calibration()

    def machine(self, config: DeploymentConfig, address: str) -> Machine:
        self.asked.append((config, address))
        return Machine("cpu", 2**36, num_cpus=2, computes_bfloat16=True)


def run(*arguments: object, cluster: FakeCluster | None = None) -> Result:
    app = typer.Typer()
    calibrate.register(app, cluster or FakeCluster())
    for command in (plan, simulate):
        command.register(app)
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, [str(argument) for argument in arguments])


def test_a_real_engine(tmp_path: Path) -> None:
    write_tiny_llama(tmp_path / "tiny", tokenizer=True)
    result = run("calibrate", tmp_path / "tiny", "--out", tmp_path / "table.yaml", *SMALL)
    assert result.exit_code == 0, result.output
    assert "timing steps" in result.stderr
    found = read_calibration(tmp_path / "table.yaml")
    assert (found.source.model, found.source.device, found.serving) == ("tiny", "cpu", None)
    assert {each.kind for each in found.source.residuals} == {"decode", "prefill", "mixed"}
    assert found.steps.tokens[0] == 1 and found.steps.tokens[-1] == 32
    assert sum(each.num_steps for each in found.source.residuals) == found.source.num_steps > 50
    for kind in ("decode", "prefill", "mixed"):
        assert kind in result.stdout


def test_plan_and_simulate_use_it(tmp_path: Path) -> None:
    table, trace = tmp_path / "table.yaml", tmp_path / "trace.jsonl"
    calibration(serving=SERVING).write(table)
    trace.write_text('{"arrival_s": 0, "prompt_tokens": 100, "output_tokens": 11}\n')
    options = ("llama-3.2-1b", "--calibration", table, "--context", "4096", "--json")
    simulated = json.loads(run("simulate", *options, "--workload", trace).stdout)
    assert simulated["itl"]["p50_s"] == pytest.approx(0.101 - 0.001, rel=0.02)
    assert simulated["ttft"]["p50_s"] == pytest.approx(0.25 + 0.199, rel=0.02)
    counted = json.loads(run("simulate", *options, "--workload", trace, "--coarse").stdout)
    assert counted["ttft"]["p50_s"] == pytest.approx(0.25 + 0.199, rel=0.02)
    planned = json.loads(run("plan", *options, "--prompt-tokens", 100, "--output-tokens", 11, "--rate", 0.01).stdout)
    assert planned["speed"]["front_s"] == 0.25
    assert "Abacus 3" in planned["subject"]["calibration"]


@pytest.mark.parametrize(
    ("options", "ranks", "address", "ranks_per_node"),
    [
        (("--ranks", 2, "--kv-shards", 2), 2, None, None),
        (("--address", "head:6379"), 1, "head:6379", None),
        (("--ranks", 4, "--address", "a:1", "--ranks-per-node", 3, "--ranks-per-node", 1), 4, "a:1", (3, 1)),
    ],
)
def test_ranks_in_processes_of_their_own(
    tmp_path: Path, options: tuple[object, ...], ranks: int, address: str | None, ranks_per_node: tuple[int, ...] | None
) -> None:
    cluster = FakeCluster()
    result = run("calibrate", "somewhere", "--out", tmp_path / "table.yaml", *options, cluster=cluster)
    assert result.exit_code == 0, result.output
    assert read_calibration(tmp_path / "table.yaml") == calibration()
    ((config, asked),) = cluster.asked
    assert (config.engine.ranks, asked, config.placement.ranks_per_node) == (ranks, address, ranks_per_node)
    assert config.engine.kv_shards == (2 if "--kv-shards" in options else "auto")
    assert (config.model.path, config.speculation.method) == ("somewhere", "none")


REFUSED_QUESTION = 2  # of `plan` and `simulate`


@pytest.mark.parametrize("command", ["plan", "simulate"])
def test_a_table_for_something_else(tmp_path: Path, command: str) -> None:
    calibration().write(tmp_path / "table.yaml")
    result = run(command, "llama-3.2-3b", "--calibration", tmp_path / "table.yaml", "--context", 8192)
    assert_one_line(result, "the calibration was made for hidden_size 2048 instead of 3072", REFUSED_QUESTION)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--max-sequences", "0"), "--max-sequences: expected `int` >= 1"),
        (("--quant", "fp7"), "--quant: invalid enum value"),
        (("--ranks", "0"), "--ranks: expected `int` >= 1"),
        (("--kv-shards", "0"), "--kv-shards: expected `int` >= 1"),
        (("--ranks", "2", "--ranks-per-node", "0"), "--ranks-per-node[0]: expected `int` >= 1"),
        (("--ranks", "2", "--ranks-per-node", "2"), "name its head with --address"),
        (("--rate", "1"), "--table and --rate are for a running endpoint: name it with --url"),
        (("--url", "http://127.0.0.1:1/v1"), "--url needs --table"),
        (("--url", "http://127.0.0.1:1/v1", "--table", "nothing.yaml"), "nothing.yaml cannot be read"),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    assert_one_line(run("calibrate", "embedded", "--out", tmp_path / "table.yaml", *options), message)


def test_nowhere_to_write(tmp_path: Path) -> None:
    assert_one_line(run("calibrate", "embedded", "--out", tmp_path / "none" / "a.yaml"), "there is no folder")


def test_no_model_and_no_endpoint(tmp_path: Path) -> None:
    assert_one_line(run("calibrate", tmp_path / "nowhere", "--out", tmp_path / "a.yaml"), "does not exist")
    calibration().write(tmp_path / "table.yaml")
    options = ("--url", "http://127.0.0.1:1/v1", "--table", tmp_path / "table.yaml")
    assert_one_line(run("calibrate", "embedded", "--out", tmp_path / "a.yaml", *options), "cannot reach")


def assert_one_line(result: Result, message: str, exit_code: int = 1) -> None:
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
