"""A folder appears whole or not at all."""

from pathlib import Path

import pytest

from llama4coder.checkpoint.manifest import is_intact
from llama4coder.checkpoint.publish import published_folder


def publish(target: Path, content: str) -> None:
    with published_folder(target) as folder:
        (folder / "file").write_text(content)


def test_folder_is_not_there_before_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "deeper" / "target"
    with published_folder(target) as folder:
        (folder / "file").write_text("content")
        assert not target.exists()
    assert is_intact(target)
    assert list(target.parent.iterdir()) == [target]


def test_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), published_folder(tmp_path / "target"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_intact_folder_of_a_faster_process_stays(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with published_folder(target) as folder:
        (folder / "file").write_text("slower")
        publish(target, "faster")
    assert (target / "file").read_text() == "faster"


@pytest.mark.parametrize("damage", ["no manifest", "other size", "missing file", "broken manifest", "a plain file"])
def test_damaged_target_is_replaced(tmp_path: Path, damage: str) -> None:
    target = tmp_path / "target"
    publish(target, "old content")
    match damage:
        case "no manifest":
            (target / "conversion.json").unlink()
        case "other size":
            (target / "file").write_text("old")
        case "missing file":
            (target / "file").unlink()
        case "broken manifest":
            (target / "conversion.json").write_text("[1]")
        case "a plain file":
            (target / "file").unlink()
            (target / "conversion.json").unlink()
            target.rmdir()
            target.write_text("in the way")
    assert not is_intact(target)
    publish(target, "new content")
    assert (target / "file").read_text() == "new content"
    assert is_intact(target)
    assert list(tmp_path.iterdir()) == [target]
