"""Whole inspections: of a folder, of GGUF files, of models that are not served, and of what is no model."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from llama4coder.errors import CheckpointError
from llama4coder.inspection.files import Source
from llama4coder.inspection.quantisation import Quantisation
from llama4coder.inspection.report import Inspection, inspect_model
from llama4coder.inspection.sizes import FormatSize
from llama4coder.inspection.template import ChatKind, TemplateFacts, ToolFormat
from llama4coder.inspection.verdict import Backend
from llama4coder.inspection.vocabulary import Hole, Vocabulary
from llama4coder.kv.sizing import weight_bytes
from llama4coder.machine import Machine
from llama4coder.parallel.plan import RankPlan
from llama4coder.shape import read_shape
from tests.inspection.model_folder import write_config, write_tensors
from tests.support.tiny import VOCAB_SIZE, write_tiny_tokenizer

MACHINE = Machine("cpu", 8 * 2**30, num_cpus=1, computes_bfloat16=True)
FIM = ("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<file_sep>")


def write_model(folder: Path, **changes: object) -> Path:
    write_config(folder, **changes)
    write_tiny_tokenizer(folder, FIM)
    write_tensors(folder / "model.safetensors", {"model.norm.weight": ("BF16", (64,))})
    return folder


def inspect(folder: Path, machine: Machine = MACHINE) -> Inspection:
    return inspect_model(str(folder), machine)


def weights(found: Inspection) -> dict[str, FormatSize]:
    assert found.sizes is not None
    return {size.name: size for size in found.sizes.weights}


def kv_per_token(found: Inspection) -> dict[str, FormatSize]:
    assert found.sizes is not None
    return {size.name: size for size in found.sizes.kv_per_token}


def test_folder(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    (folder / "LICENSE").write_text("Apache License Version 2.0", encoding="utf-8")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Tiny\n", encoding="utf-8")
    found = inspect(folder)
    assert (found.family, found.source, found.quantisation) == ("llama", Source.FOLDER, None)
    assert (found.is_served, found.reason, found.backend) == (True, None, Backend.ENGINE)
    hole = Hole("<fim_prefix>", "<fim_suffix>", "<fim_middle>", False)
    assert found.vocabulary == Vocabulary(
        VOCAB_SIZE + len(FIM), "<|im_start|>", False, ("<|im_end|>",), hole, ("<file_sep>",)
    )
    assert found.template == TemplateFacts(ChatKind.CHATML, ToolFormat.NONE)
    assert [one.licence.name for one in found.licence.found] == ["Apache-2.0", "MIT"]
    assert found.parameters.total == 64


def test_sizes_are_those_of_the_engine(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    plan = RankPlan.alone(read_shape(folder))
    found = inspect(folder)
    for quant in ("fp8", "nf4"):
        assert weights(found)[quant].num_bytes == weight_bytes(plan, "bfloat16", quant)
    assert weights(found)["bfloat16"].num_bytes == weight_bytes(plan, "bfloat16")
    assert kv_per_token(found)["dense"].num_bytes == 2 * 2 * 2 * 16 * 2  # K and V, layers, heads, head_dim, bytes


def test_a_format_that_the_model_cannot_have(tmp_path: Path) -> None:
    found = inspect(write_model(tmp_path, model_type="qwen2"))
    refusal = kv_per_token(found)["fp8"].refusal
    assert refusal is not None
    assert "biases" in refusal
    assert found.is_served, "with the default format"


def test_too_little_memory(tmp_path: Path) -> None:
    found = inspect(write_model(tmp_path), replace(MACHINE, memory_bytes=1000))
    assert not found.is_served
    assert found.reason is not None
    assert found.backend is Backend.ENGINE


def test_family_that_is_not_served(tmp_path: Path) -> None:
    found = inspect(write_model(tmp_path, model_type="starcoder2", sliding_window=4096))
    assert (found.is_served, found.backend, found.sizes) == (False, Backend.TRANSFORMERS, None)
    assert found.reason is not None
    assert "'starcoder2' is not served by this engine" in found.reason
    assert found.positions.sliding_window == 4096
    (tmp_path / "tokenizer.json").unlink()
    assert inspect(tmp_path).reason == found.reason, "the family comes before what is missing"


@pytest.mark.parametrize("model_type", ["no_such_family", "../generation", None])
def test_family_that_nobody_serves(tmp_path: Path, model_type: str | None) -> None:
    found = inspect(write_model(tmp_path, model_type=model_type))
    assert (found.is_served, found.backend) == (False, None)


def test_weights_stored_otherwise(tmp_path: Path) -> None:
    found = inspect(write_model(tmp_path, quantization_config={"quant_method": "gptq", "bits": 4}))
    assert found.quantisation == Quantisation("gptq", 4, "")
    assert (found.is_served, found.backend) == (False, Backend.TRANSFORMERS)
    assert found.reason is not None
    assert "gptq" in found.reason
    assert {size.refusal for size in weights(found).values()} == {found.reason}


def test_missing_files_are_the_reason(tmp_path: Path) -> None:
    found = inspect(write_config(tmp_path))
    assert (found.vocabulary, found.template, found.parameters.total) == (None, None, 0)
    assert (found.is_served, found.backend) == (False, None)
    assert found.reason is not None
    assert "has no tokenizer.json" in found.reason


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlicense: other\nlicense_name: deepseek\n---\n", ["DeepSeek Model License"]),
        ("---\nlicense: other\n---\n", ["unknown"]),
        ("---\nlicense: [unclosed\n---\n", []),
        ("---\n- a list\n---\n", []),
        ("# No front matter\nlicense: mit\n", []),
        ("", []),
    ],
)
def test_model_cards(tmp_path: Path, card: str, expected: list[str]) -> None:
    folder = write_model(tmp_path)
    (folder / "README.md").write_text(card, encoding="utf-8")
    assert [one.licence.name for one in inspect(folder).licence.found] == expected


def test_embedded_model() -> None:
    found = inspect_model("embedded", MACHINE)
    assert (found.family, found.source, found.is_served) == ("llama", Source.GGUF, True)
    assert found.parameters.total == 134_515_008
    assert found.quantisation is not None
    assert [one.licence.name for one in found.licence.found] == ["Apache-2.0"]
    assert found.vocabulary is not None
    assert (found.vocabulary.eos, found.vocabulary.hole) == (("<|im_end|>",), None)


def test_no_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        inspect(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        inspect(tmp_path)
    (tmp_path / "x.gguf").write_bytes(b"GGUF, or not")
    with pytest.raises(CheckpointError, match="not a GGUF file"):
        inspect(tmp_path / "x.gguf")


def test_damaged_files(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    (folder / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"cannot read .*config\.json"):
        inspect(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}), encoding="utf-8")
    assert not inspect(folder).is_served, "sizes are missing, and the rest can be told"
