"""Lists of checksums: what differs is named."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from llama4coder.checkpoint.checksums import check_checksums, write_checksums
from llama4coder.errors import CheckpointError
from llama4coder.progress import NullProgress
from tests.support.progress import CountingProgress


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.json", "b.safetensors"):
        (tmp_path / name).write_text(name * 100)
    return tmp_path


def check(folder: Path) -> None:
    check_checksums(folder, NullProgress())


def test_what_was_written_is_right_and_every_byte_is_counted(folder: Path) -> None:
    write_checksums(folder, NullProgress())
    progress = CountingProgress()
    check_checksums(folder, progress)
    assert progress.done == progress.total == 600 + 1300 and progress.unit == "B" and progress.finished


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no coreutils")
def test_coreutils_agrees(folder: Path) -> None:
    write_checksums(folder, NullProgress())
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    made = subprocess.run(["sha256sum", "-b", "./a.json", "b.safetensors"], cwd=folder, check=True, capture_output=True)
    (folder / "SHA256SUMS").write_bytes(made.stdout)
    check(folder)


@pytest.mark.parametrize("wrap", [lambda digest: digest, lambda digest: {"sha256": digest.upper(), "size": 5}])
def test_a_manifest_in_json(folder: Path, wrap: object) -> None:
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    (folder / "manifest.json").write_text(json.dumps({"files": {name: wrap(each) for name, each in digests.items()}}))
    check(folder)
    (folder / "b.safetensors").write_text("b" * 1300)
    with pytest.raises(CheckpointError, match=r"b\.safetensors is damaged"):
        check(folder)


def test_the_first_file_that_differs_is_named(folder: Path) -> None:
    write_checksums(folder, NullProgress())
    (folder / "a.json").write_text("other")
    with pytest.raises(CheckpointError, match=r"a\.json is damaged: its SHA-256 is [0-9a-f]{64}, expected"):
        check(folder)


def test_files_that_are_missing_or_not_listed(folder: Path) -> None:
    write_checksums(folder, NullProgress())
    (folder / "c.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"c\.json is in no list"):
        check(folder)
    (folder / "c.json").unlink()
    (folder / "b.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"b\.safetensors is in the list of checksums, and is missing"):
        check(folder)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("SHA256SUMS", ""),
        ("SHA256SUMS", "abc  a.json\n"),
        ("SHA256SUMS", "0" * 64),
        ("SHA256SUMS", "\udcff"),
        ("manifest.json", "[]"),
        ("manifest.json", "{}"),
        ("manifest.json", '{"files": {"a.json": 5}}'),
        ("manifest.json", "{"),
    ],
)
def test_damaged_lists(folder: Path, file: str, content: str) -> None:
    (folder / file).write_text(content, errors="surrogateescape")
    with pytest.raises(CheckpointError, match=file):
        check(folder)


def test_no_list(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is to be verified, and has neither SHA256SUMS nor manifest\.json"):
        check(folder)
