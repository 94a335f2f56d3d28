"""The plan command: its screen, its JSON, its files, and its errors."""

import json
from dataclasses import fields
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from llama4coder.cli import plan
from llama4coder.kv.rank_memory import RankMemory
from tests.inspection.model_folder import write_config

FITS = ("llama-3.1-70b", "--quant", "fp8", "--context", "32768")


def run(*arguments: str) -> Result:
    app = typer.Typer()
    plan.register(app)
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, arguments)


def lines(result: Result) -> list[str]:
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def test_screen() -> None:
    result = run(*FITS, "--price-per-hour", "7")
    assert (result.exit_code, result.stderr) == (0, "")
    shown = lines(result)
    assert shown[1] == "on 1 x H200 (heads shards x KV shards: 1 x 1)"
    assert "weights 66.71 71,633,081,344" in shown
    assert "sequences of 131,072 tokens that fit not served" in shown
    assert any(line.startswith("between tokens, ms 20.4") for line in shown)
    assert "replicas of the target 8" in shown
    assert any(line.endswith("at 7 for a GPU's hour") for line in shown)


def test_json() -> None:
    report = json.loads(run(*FITS, "--rate", "2", "--json").stdout)
    assert report["memory"]["fits"] is True
    assert report["memory"]["sequences"][2] == {"num_tokens": 131072, "num_sequences": None}
    assert report["needs"]["requests_per_s"] == 2
    assert report["needs"]["gpus"] == report["needs"]["target_replicas"] == 3
    memory = report["memory"]
    assert set(memory["rank"]) == {field.name for field in fields(RankMemory)}
    assert memory["budget"] - memory["block"] < sum(memory["rank"].values()) <= memory["budget"]


def test_what_does_not_fit_comes_with_what_does() -> None:
    result = run("llama-3.1-70b", "--gpu", "H100", "--ranks", "1")
    assert result.exit_code == 2
    assert result.stderr.startswith("llama4coder: it does not fit") and result.stderr.count("\n") == 1
    assert "does not fit: 104.08 GiB are missing on each rank for one full sequence" in lines(result)
    assert any(line.startswith("4 ranks 4 H100") for line in lines(result))


def test_ranks_are_as_few_as_fit() -> None:
    assert lines(run("llama-3.1-70b", "--gpu", "H100"))[1].startswith("on 4 x H100")


def test_gpus_that_are_missing() -> None:
    result = run(*FITS, "--rate", "50")
    assert result.exit_code == 2
    assert "GPUs are missing: raise --gpus or --nodes" in result.stderr


def test_audit(tmp_path: Path) -> None:
    picture = tmp_path / "audit.svg"
    result = run("llama-3.1-70b", "--gpu", "H100", "--audit", "--plot", str(picture))
    assert (result.exit_code, result.stderr) == (0, "")
    assert any(line.startswith("none dense -104.1 -17.8") for line in lines(result))
    assert picture.read_text().startswith("<svg")
    assert json.loads(run("llama-3.1-70b", "--audit", "--json").stdout)["rows"][0]["quant"] == "none"


def test_files(tmp_path: Path) -> None:
    assert run(*FITS, "--plot", str(tmp_path / "new" / "plan.svg"), "--emit", str(tmp_path / "out")).exit_code == 0
    assert (tmp_path / "new" / "plan.svg").read_text().count("<polyline") == 6
    args = yaml.safe_load((tmp_path / "out" / "serve.yaml").read_text())["applications"][0]["args"]
    assert args["target_replicas"] == 8


def test_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    write_config(folder)
    result = run(str(folder), "--prompt-tokens", "64", "--output-tokens", "16", "--emit", str(tmp_path / "out"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert lines(result)[0].startswith("tiny, none weights")
    args = yaml.safe_load((tmp_path / "out" / "serve.yaml").read_text())["applications"][0]["args"]
    assert args["model"]["path"] == str(folder)


def test_a_gpu_of_ones_own(tmp_path: Path) -> None:
    gpu = tmp_path / "gpu.yaml"
    described = {
        "name": "X1",
        "memory_bytes": 2**37,
        "bandwidth_bytes_per_s": 5e12,
        "bf16_flops": 1e15,
        "link_bytes_per_s": 1e11,
    }
    gpu.write_text(yaml.safe_dump(described))
    assert lines(run("llama-3.1-8b", "--gpu", str(gpu)))[1].startswith("on 1 x X1")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("memory_bytes: 80", "memory_bytes: Value error, 80 is not from 1.07374e+09 to 1.1259e+15: give it in bytes"),
        ("bandwidth_bytes_per_s: 4.8", "give it in bytes per second, not GB/s"),
        ("bf16_flops: 989", "give it in products per second, not TFLOPS"),
        ("link_bytes_per_s: 900", "give it in bytes per second, not GB/s"),
        ("bf16_flops: .nan", "bf16_flops: Input should be a finite number"),
        ("- 1", "does not describe a GPU, see docs/planning.md"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_gpu_that_is_none(tmp_path: Path, content: str, problem: str) -> None:
    gpu = tmp_path / "gpu.yaml"
    gpu.write_text(content)
    result = run("llama-3.1-8b", "--gpu", str(gpu))
    assert result.exit_code == 2
    assert problem in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("llama-9",), "model 'llama-9' is neither a checkpoint folder nor a name known here"),
        (("llama-3.1-8b", "--gpu", "TPU"), "GPU 'TPU' is not known; choose of A100-80"),
        (("llama-3.1-8b", "--gpu", "none.yaml"), "none.yaml cannot be read"),
        (("llama-3.1-8b", "--gpus", "0"), "both must be 1 or more"),
        (("llama-3.1-8b", "--nodes", "-1"), "both must be 1 or more"),
        (("llama-3.1-8b", "--rate", "0"), "--rate is 0.0: give a number above 0"),
        (("llama-3.1-8b", "--rate", "-3"), "--rate is -3.0"),
        (("llama-3.1-8b", "--rate", "nan"), "--rate is nan"),
        (("llama-3.1-8b", "--ttft", "-5"), "--ttft is -5.0"),
        (("llama-3.1-8b", "--itl", "0.001"), "no number of replicas meets --itl 0.001"),
        (("llama-3.1-8b", "--utilisation", "1"), "leaves no headroom"),
        (("llama-3.1-8b", "--quant", "int4"), "--quant 'int4' is no format of weights on GPUs"),
        (("llama-3.1-8b", "--kv-format", "int3"), "--kv-format 'int3' is no format of KV blocks"),
        (("llama-3.1-8b", "--ranks", "16", "--nodes", "2", "--kv-shards", "1"), "ranks cannot be laid out"),
        (("llama-3.1-8b", "--ranks", "16"), "16 ranks need 16 GPUs and there are 8"),
        (("llama-3.1-8b", "--context", "0"), "0 tokens of context cannot be planned for"),
        (("llama-3.1-8b", "--max-step-tokens", "1"), "1 tokens of a step cannot be planned for"),
        (("llama-3.1-8b", "--prompt-tokens", "0"), "both must be 1 or more"),
        (("llama-3.1-8b", "--prompt-tokens", "200000"), "do not fit the context of 131072 tokens"),
        (("llama-3.1-8b", "--shared-prefix", "2"), "a shared prefix of 2.0 is no share"),
        (("llama-3.1-8b", "--acceptance", "1.5"), "an acceptance of 1.5 is no share"),
        (("llama-3.1-8b", "--draft", "llama-3.2-1b"), "--draft needs --acceptance"),
        (("llama-3.1-8b", "--price-per-hour", "0"), "--price-per-hour is 0.0"),
        (("llama-3.1-8b", "--plot", "/proc/none/a.svg"), "/proc/none/a.svg cannot be written"),
        (("llama-3.1-8b", "--plot", "plan.png"), "--plot plan.png: only .svg files are written"),
        (("llama-3.1-8b", "--audit", "--emit", "out"), "--emit is for one plan"),
        (("",), "model '' is neither a checkpoint folder nor a name known here"),
        (("/proc/self",), "/proc/self has no config.json"),
        (("llama-3.1-8b", "--rate", "1e300"), "lower --rate"),
        (("llama-3.1-8b", "--nodes", "99999999999"), "more than can be planned for"),
        (("llama-3.1-8b", "--guesses", "1000000"), "give 32 or less"),
        (("llama-3.1-8b", "--hit-rate", "nan"), "--hit-rate nan is no share"),
        (("llama-3.1-8b", "--hit-rate", "2"), "--hit-rate 2 is no share"),
    ],
)
def test_bad_input(arguments: tuple[str, ...], problem: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert result.stderr.count("\n") == 1
