"""What a model folder must hold, and which file is named when it does not."""

import json
from pathlib import Path

import pytest

from llama4coder.checkpoint import folder as folder_module
from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.errors import CheckpointError
from llama4coder.progress import NullProgress


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).write_text("{}")
    return folder


def find(folder: Path) -> Path:
    return find_checkpoint(str(folder), folder.parent / "cache", NullProgress())


def test_complete_folder_is_found(model: Path) -> None:
    assert find(model) == model


@pytest.mark.parametrize(
    ("missing", "named"),
    [("config.json", "config.json"), ("tokenizer.json", "tokenizer.json"), ("model.safetensors", r"\*\.safetensors")],
)
def test_missing_file_is_named(model: Path, missing: str, named: str) -> None:
    (model / missing).unlink()
    with pytest.raises(CheckpointError, match=named):
        find(model)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere does not exist"):
        find(tmp_path / "nowhere")


def write_index(model: Path, *shards: str) -> None:
    weight_map = {f"weight.{index}": name for index, name in enumerate(shards)}
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_missing_shard_is_named(model: Path) -> None:
    (model / "part-1.safetensors").touch()
    write_index(model, "part-1.safetensors", "part-2.safetensors")
    with pytest.raises(CheckpointError, match=r"no part-2\.safetensors"):
        find(model)
    (model / "part-2.safetensors").touch()
    assert find(model) == model


def test_damaged_index_is_named(model: Path) -> None:
    (model / "model.safetensors.index.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"model\.safetensors\.index\.json"):
        find(model)


def test_embedded_goes_to_the_embedded_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "ensure_embedded", lambda cache_dir, progress: cache_dir / "converted")
    assert find_checkpoint("embedded", tmp_path, NullProgress()) == tmp_path / "converted"
