"""Links in checkpoint folders."""

from pathlib import Path

import pytest

from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.errors import CheckpointError
from llama4coder.progress import NullProgress

FILES = ("config.json", "tokenizer.json", "model.safetensors")


def write(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_text("{}")
    return folder


def find(folder: Path) -> Path:
    return find_checkpoint(str(folder), folder.parent, NullProgress())


def move(path: Path, target: Path, link: Path | None = None) -> None:
    """Move a file and leave a link in its place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path.rename(target)
    path.symlink_to(link or target)


@pytest.mark.parametrize("name", [*FILES, "tokenizer_config.json", "chat_template.jinja"])
def test_a_link_that_leaves_the_folder(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "model")
    (folder / name).write_text("{}")
    move(folder / name, tmp_path / "elsewhere" / name)
    with pytest.raises(CheckpointError, match=rf"{name} is a link that leaves the model folder"):
        find(folder)


def test_links_within_the_folder_and_links_to_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "model")
    move(folder / "model.safetensors", folder / "deep" / "weights", Path("deep/weights"))
    (tmp_path / "current").symlink_to(folder)
    assert find(folder) == folder and find(tmp_path / "current") == tmp_path / "current"


def test_a_cache_of_hugging_face(tmp_path: Path) -> None:
    folder = write(tmp_path / "models--a--b" / "snapshots" / "0123abcd")
    for number, name in enumerate(FILES):
        blob = folder.parents[1] / "blobs" / f"{number:064x}"
        move(folder / name, blob, Path("../../blobs") / blob.name)
    assert find(folder) == folder
    (folder / "config.json").unlink()
    (folder / "config.json").write_text("{}")
    move(folder / "config.json", tmp_path / "models--a--b" / "refs" / "main")
    with pytest.raises(CheckpointError, match="leaves the model folder"):
        find(folder)


def test_blobs_of_anything_else(tmp_path: Path) -> None:
    folder = write(tmp_path / "a" / "b" / "model")
    move(folder / "config.json", tmp_path / "a" / "blobs" / "0")
    with pytest.raises(CheckpointError, match="leaves the model folder"):
        find(folder)


@pytest.mark.parametrize("target", ["nothing", "config.json"])
def test_links_to_nowhere(tmp_path: Path, target: str) -> None:
    folder = write(tmp_path / "model")
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(target)
    with pytest.raises(CheckpointError, match=r"config\.json is a link that leads to no file"):
        find(folder)
