"""The simulate command: a table, JSON, a picture, and one clear line for what makes no sense."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from llama4coder.cli import simulate

MODEL = "llama-3.2-1b"
PROGRAM = "import typer; from llama4coder.cli import simulate; app = typer.Typer(); simulate.register(app); app()"
SMALL = ("--rate", "3", "--duration", "2", "--context", "32768")


def run(*options: str) -> Result:
    app = typer.Typer()
    simulate.register(app)
    return CliRunner(env={"COLUMNS": "120"}).invoke(app, [MODEL, *options])


def test_json_and_picture(tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    result = run(*SMALL, "--json", "--plot", str(plot))
    assert result.exit_code == 0
    outcome = json.loads(result.stdout)
    assert outcome["ends"] == {"done": outcome["requests"]}
    assert 0 < outcome["itl"]["p50_s"] < 0.05
    assert outcome["cost"] > 0
    assert plot.read_text().startswith("<svg")


def test_table_by_counts() -> None:
    result = run(*SMALL, "--coarse", "--replicas", "3")
    assert result.exit_code == 0
    assert "3 x llama-3.2-1b on 1 x H200, kv_aware" in result.stdout
    assert "time to first token" in result.stdout


def test_flows_tell_means(tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    result = run("--fluid", "--replicas", "20000", "--rate", "90000", "--context", "32768", "--plot", str(plot))
    assert result.exit_code == 0
    assert "20,000 x llama-3.2-1b on 1 x H200, as flows" in result.stdout
    assert "mean time to first token" in result.stdout
    assert plot.read_text().startswith("<svg")
    outcome = json.loads(run("--fluid", "--rate", "3", "--context", "32768", "--json").stdout)
    assert 0 < outcome["itl_mean_s"] < outcome["ttft_mean_s"] < 0.2
    assert outcome["cost"] > 0


def test_a_pool_that_comes_when_it_is_called(tmp_path: Path) -> None:
    trace, plot = tmp_path / "trace.jsonl", tmp_path / "plot.svg"
    trace.write_text('{"arrival_s": 0, "prompt_tokens": 100, "output_tokens": 2500}\n')
    pool = ("--guess", "pool", "--draft-replicas", "0", "--max-draft-replicas", "2", "--up-delay", "0")
    options = ("--workload", str(trace), "--json", "--context", "32768", "--start", "0", "--provision", "0", "--plot")
    outcome = json.loads(run(*pool, *options, str(plot)).stdout)
    assert 0 < outcome["draft_gpu_hours"] < outcome["gpu_hours"]
    assert "drafting" in plot.read_text()


def test_a_trace(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"arrival_s": 0, "prompt_tokens": 100, "output_tokens": 10}\n')
    result = run("--workload", str(trace), "--json", "--context", "32768")
    assert json.loads(result.stdout)["requests"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rate", "-1"), "--rate"),
        (("--policy", "random"), "--policy"),
        (("--replicas", "0"), "--replicas"),
        (("--gpu", "H999"), "H999"),
        (("--accept", "0.5,much"), "--accept"),
        (("--workload", "/nowhere.jsonl"), "/nowhere.jsonl"),
        (("--coarse", "--mtbf", "10"), "--mtbf"),
        (("--fluid", "--policy", "least_load", "--mtbf", "10"), "--policy, --mtbf"),
        (("--fluid", "--warmup", "60"), "--warmup"),
        (("--replicas", "4", "--max-replicas", "2"), "--max-replicas"),
        (("--coarse", "--max-replicas", "2"), "--coarse cannot simulate --max-replicas: leave it out, or leave out"),
        (("--fluid", "--guess", "pool", "--max-draft-replicas", "2"), "simulate --guess, --max-draft-replicas: leave"),
        (("--max-draft-replicas", "2"), "--max-draft-replicas is of no use without a pool: give --guess pool, too"),
        (
            ("--guess", "pool", "--draft-replicas", "3", "--max-draft-replicas", "2"),
            "2 is less than --draft-replicas 3",
        ),
        (("--guess", "pool", "--draft-replicas", "0"), "--draft-replicas 0 needs --max-draft-replicas"),
        (("--max-replicas", "2", "--forecast", __file__), f"--forecast {__file__}: a forecast's first line must be"),
        (("--context", "100000000"), "context_length"),
        (("--context", "1000000000000"), "--context"),
        (("--rate", "nan"), "--rate"),
        (("--rate", "1e30"), "--rate"),
        (("--rate", "1e6", "--duration", "1e6"), "lower --rate or --duration"),
        (("--duration", "inf"), "--duration"),
        (("--host-gib", "1e300"), "--host-gib"),
        (("--ranks", "1000000"), "--ranks"),
        (("--coarse", "--warmup", "100"), "--warmup"),
        (("--max-replicas", "2", "--forecast", "/nowhere"), "--forecast /nowhere cannot be read"),
        (("--fluid", "--day", "2,3"), "--day"),
        (("--day", "0,0"), "the shares of a day"),
        (("--day", "0.5,1", "--workload", "trace.jsonl"), "--day"),
    ],
)
def test_what_makes_no_sense(options: tuple[str, ...], message: str) -> None:
    result = run(*options)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((5.0, 1.0), "line 2: it arrives before the line above it; sort the trace by time"),
        ((-1.0,), "line 1: Expected `float` >= 0.0 - at `$.arrival_s`"),
        ((1_700_000_000.0,), "count seconds"),
        ((), "is empty"),
    ],
)
def test_a_trace_that_makes_no_sense(tmp_path: Path, lines: tuple[float, ...], message: str) -> None:
    trace = tmp_path / "trace.jsonl"
    requests = ({"arrival_s": time_s, "prompt_tokens": 9, "output_tokens": 2} for time_s in lines)
    trace.write_text("".join(f"{json.dumps(request)}\n" for request in requests))
    result = run("--workload", str(trace), "--context", "32768")
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_day(tmp_path: Path) -> None:
    result = run("--fluid", "--replicas", "4", "--rate", "20", "--day", "0.1,1,0.1", "--context", "32768")
    assert result.exit_code == 0
    assert "queue time, mean and most" in result.stdout
    assert "refused, expired" in result.stdout
    outcome = json.loads(run(*SMALL, "--day", "0,0,1", "--duration", "8", "--json").stdout)
    assert 0 < outcome["requests"] < 15


def _heed_ctrl_c() -> None:
    """Who is started in the background by a shell inherits that it is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_ends_with_what_there_is() -> None:
    command = [sys.executable, "-c", PROGRAM, MODEL, "--rate", "20", "--duration", "3600", "--json"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "120"},
        preexec_fn=_heed_ctrl_c,
    )
    assert process.stderr is not None
    assert "llama-3.2-1b" in process.stderr.readline()
    time.sleep(2.0)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    outcome = json.loads(output)
    assert not outcome["is_whole"]
    assert outcome["requests"] > 0
