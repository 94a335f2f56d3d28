"""The perplexity command over a tiny model: table, JSON, and every error in one line."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from llama4coder.cli import perplexity
from tests.support.models import write_tiny, write_tiny_llama
from tests.support.tiny import write_tiny_tokenizer

CODE = "".join(f"def function_{index}(first, second):\n    return first + {index} * second\n" for index in range(400))


def run(*arguments: object) -> Result:
    app = typer.Typer()
    perplexity.register(app)
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.py"
    path.write_text(CODE, encoding="utf-8")
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_tiny_llama(tmp_path / "tiny", tokenizer=True)
    return tmp_path / "tiny"


def lines(screen: str) -> list[str]:
    return [" ".join(line.split()) for line in screen.splitlines() if line.strip()]


def test_table(model: Path, text: Path) -> None:
    result = run(model, "--text", text, "--kv", "int8", "--tokens", 6000, "--quant", "none")
    assert result.exit_code == 0
    title, heading, _, baseline, int8 = lines(result.stdout)
    assert title == "tiny: 5,988 tokens in windows of 512"
    assert heading.startswith("weights KV rest perplexity 95 % against none + dense 95 % weights")
    assert baseline.startswith("none dense ")
    assert int8.startswith("none int8 ")
    assert (baseline.count(" to "), int8.count(" to "), int8.count(" % ")) == (1, 2, 1)
    assert "scoring none + int8" in result.stderr


def test_json_and_too_little_for_an_interval(model: Path, text: Path) -> None:
    command = (model, "--text", text, "--text", text, "--context", 64, "--tokens", 200)
    report = json.loads(run(*command, "--json").stdout)
    assert (report["model"], report["num_tokens"], report["context_length"]) == ("tiny", 196, 64)
    (row,) = report["rows"]
    assert row["format"] == {"quant": "none", "kv_format": "dense"}
    assert row["measured"]["perplexity"]["interval"] is None
    assert row["measured"]["difference_percent"] is None
    assert "too little text for intervals" in run(*command).stdout


def test_a_refusal_stands_below_the_table(tmp_path: Path, text: Path) -> None:
    write_tiny(tmp_path / "qwen", "qwen2")
    write_tiny_tokenizer(tmp_path / "qwen")
    result = run(tmp_path / "qwen", "--text", text, "--kv", "fp8,int8", "--context", 64, "--tokens", 64)
    assert result.exit_code == 0
    assert lines(result.stdout)[-1].startswith("none + fp8: engine.kv_format fp8 cannot tell the keys")
    assert any(line.startswith("none int8 ") for line in lines(result.stdout))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--quant", "fp7"), "--quant fp7: there is no such format"),
        (("--kv", "int8,x"), "--kv x: there is no such format"),
        (("--tokens", "100"), "there are 100 tokens to score, less than a window of 512"),
    ],
)
def test_options_that_cannot_be(model: Path, text: Path, options: tuple[str, str], message: str) -> None:
    assert_one_line(run(model, "--text", text, *options), message)


def test_text_that_cannot_be_read(model: Path, tmp_path: Path) -> None:
    assert_one_line(run(model, "--text", tmp_path / "nowhere"), "cannot read")
    (tmp_path / "latin").write_bytes("é".encode("latin-1"))
    assert_one_line(run(model, "--text", tmp_path / "latin"), "is not UTF-8")


def test_no_model(tmp_path: Path, text: Path) -> None:
    assert_one_line(run(tmp_path / "nowhere", "--text", text), "does not exist")


def test_interrupted(model: Path, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(path: Path) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(perplexity, "read_text", interrupt)
    assert run(model, "--text", text).exit_code == 130


def assert_one_line(result: Result, message: str) -> None:
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
