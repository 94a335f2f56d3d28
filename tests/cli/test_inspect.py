"""The inspect command: its screen, its JSON, and its errors."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from llama4coder.cli import inspect
from tests.inspection.model_folder import write_config, write_tensors
from tests.support.tiny import write_tiny_tokenizer

CODESTRAL = ("[PREFIX]", "[SUFFIX]")
USERS = "If there are more than 700 million monthly active users, a licence must be asked for."
LICENCE = f"LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\n\nShow “Built with Llama” on a page.\n\n{USERS}\n"


def run(*arguments: str) -> Result:
    app = typer.Typer()
    inspect.register(app)
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, arguments)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_config(tmp_path, rope_scaling={"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 64})
    write_tiny_tokenizer(tmp_path, CODESTRAL)
    write_tensors(tmp_path / "model.safetensors", {"model.norm.weight": ("BF16", (64,))})
    return tmp_path


def lines(result: Result) -> list[str]:
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def test_screen(folder: Path) -> None:
    (folder / "LICENSE").write_text(LICENCE, encoding="utf-8")
    result = run(str(folder))
    assert (result.exit_code, result.stderr) == (0, "")
    for line in (
        "parameters 64",
        "stored as BF16 64",
        "quantised no",
        "context 512 tokens",
        "RoPE llama3, theta 500,000, factor 8, from 64 tokens",
        "sliding window none",
        "BOS <|im_start|>, not before a raw prompt",
        "fill in the middle [SUFFIX] … [PREFIX] …",
        "chat template ChatML",
        "tool calls none",
        "licence Llama 3.1 Community License (LICENSE)",
        f"monthly users “{USERS}”",
        "to be shown “Built with Llama”, prominently, by products that use or distribute it",
        "“Show “Built with Llama” on a page.”",
        "served here by llama4coder's engine",
    ):
        assert line in lines(result)
    assert any(line.startswith("dense 256 256 B yes") for line in lines(result))


def test_format_that_is_refused(folder: Path) -> None:
    write_config(folder, model_type="qwen2")
    shown = lines(run(str(folder)))
    (number,) = (line.split()[-1] for line in shown if line.startswith("fp8 130 130 B no "))
    assert any(line.startswith(f"{number} engine.kv_format fp8 cannot tell the keys") for line in shown)
    assert shown[-1] == "served here by llama4coder's engine"


def test_duties_without_their_text(folder: Path) -> None:
    (folder / "README.md").write_text("---\nlicense: llama3.3\n---\n", encoding="utf-8")
    shown = lines(run(str(folder)))
    assert "licence Llama 3.3 Community License (declared)" in shown
    assert any(line.startswith("monthly users above 700 million of them its licence asks") for line in shown)


def test_refused(folder: Path) -> None:
    write_config(folder, quantization_config={"quant_method": "awq", "bits": 4, "group_size": 128})
    shown = lines(run(str(folder)))
    assert "quantised awq, 4 bits, groups of 128" in shown
    assert any(line.startswith("not served here, because") for line in shown)
    assert "Hugging Face Transformers has this architecture, and may serve it (transformers serve)" in shown
    assert sum("quantisation method 'awq'" in line for line in shown) == 1, "one reason is told once"
    assert any(line.startswith("dense 256 256 B no") for line in shown)


def test_folder_that_says_next_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    shown = lines(run(str(tmp_path)))
    for line in (
        "context not said",
        "RoPE not said",
        "vocabulary no tokenizer.json",
        "chat template none",
        "licence nothing found: look where the model came from",
        "no backend is known that could serve it",
    ):
        assert line in shown


def test_json(folder: Path) -> None:
    report = json.loads(run(str(folder), "--json").stdout)
    assert report["is_served"] is True
    assert report["positions"]["rope"] == {
        "rope_type": "llama3",
        "theta": 500000.0,
        "factor": 8.0,
        "original_context_length": 64,
    }


def test_no_model(tmp_path: Path) -> None:
    result = run(str(tmp_path / "nowhere"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "does not exist" in result.stderr
    assert result.stderr.count("\n") == 1


def test_weights_are_not_loaded() -> None:
    program = "import sys; from llama4coder.cli.inspect import inspect; inspect('embedded'); "
    check = "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", program + check], stdout=subprocess.DEVNULL, check=False).returncode == 0
    )
