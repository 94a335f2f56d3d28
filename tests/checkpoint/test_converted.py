"""A GGUF file as `model.path`: converted once, again when it changes, refused in words that name what is wrong."""

import os
from pathlib import Path

import pytest

from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.checkpoint.manifest import is_intact
from llama4coder.errors import CheckpointError, ConfigError
from llama4coder.progress import NullProgress
from tests.support.progress import CountingProgress
from tests.support.tiny_gguf import TinyGguf


@pytest.fixture
def model(tmp_path: Path, tiny: TinyGguf) -> Path:
    return tiny.write(tmp_path / "tiny-code-1b.Q4_K_M.gguf")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def find(path: Path, cache: Path, progress: CountingProgress | None = None) -> Path:
    return find_checkpoint(str(path), cache, progress or NullProgress())


def test_is_converted_once(model: Path, cache: Path, progress: CountingProgress) -> None:
    folder = find(model, cache, progress)
    assert folder.name == "tiny-code-1b.Q4_K_M"  # the name that clients use
    assert progress.done == progress.total > 0
    second = CountingProgress()
    assert find(model, cache, second) == folder
    assert second.done == 0
    assert find_checkpoint(str(folder), cache, second) == folder  # a checkpoint folder like any other


def test_capital_letters_in_the_suffix(model: Path, cache: Path) -> None:
    assert is_intact(find(model.rename(model.with_suffix(".GGUF")), cache))


def test_changed_file_is_converted_anew(model: Path, cache: Path, tiny: TinyGguf) -> None:
    before = find(model, cache)
    tiny.tensors["output_norm.weight"] *= 2
    tiny.write(model)
    os.utime(model, ns=(1, 1))
    after = find(model, cache)
    assert before != after
    assert is_intact(before)
    assert is_intact(after)


def test_damaged_conversion_is_made_again(model: Path, cache: Path) -> None:
    folder = find(model, cache)
    (folder / "model.safetensors").write_bytes(b"short")
    assert find(model, cache) == folder
    assert is_intact(folder)


def test_missing_file_is_named(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot read .*nothing\.gguf: No such file"):
        find(tmp_path / "nothing.gguf", cache)


def test_other_architecture_is_named(tmp_path: Path, cache: Path, tiny: TinyGguf) -> None:
    tiny.architecture = "mamba"
    with pytest.raises(CheckpointError, match="architecture mamba; supported are llama, qwen2"):
        find(tiny.write(tmp_path / "other.gguf"), cache)
    assert not cache.exists()


def test_folder_with_such_a_name_is_a_folder(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "folder.gguf").mkdir()
    with pytest.raises(CheckpointError, match=r"folder\.gguf has no config\.json"):
        find(tmp_path / "folder.gguf", cache)


def test_cache_that_cannot_be_written_is_one_clear_line(model: Path, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(ConfigError, match=r"cannot write the cache folder .*LLAMA4CODER_CACHE"):
        find(model, cache)
