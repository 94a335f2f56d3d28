"""SHA-256 of a folder's files: writing a list, and checking one that came with a checkpoint."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from llama4coder.checkpoint.manifest import MANIFEST_FILE
from llama4coder.errors import CheckpointError
from llama4coder.progress import Progress
from llama4coder.tokenizer.files import read_json

SUMS_FILE = "SHA256SUMS"  # as `sha256sum` writes and reads it
JSON_FILE = "manifest.json"  # {"files": {name: digest, or {"sha256": digest}}}
MANIFESTS = (SUMS_FILE, JSON_FILE, MANIFEST_FILE)
"""Files that list others, and are in no list themselves."""

_PART_BYTES = 2**22
_DIGEST_LENGTH = 64


def write_checksums(folder: Path, progress: Progress) -> None:
    """List every file of a folder."""
    digests = _digests(folder, _files_of(folder), progress)
    text = "".join(f"{digest}  {name}\n" for name, digest in digests)
    (folder / SUMS_FILE).write_text(text, encoding="utf-8")


def check_checksums(folder: Path, progress: Progress) -> None:
    """Read every file, and compare it with `SHA256SUMS` or else `manifest.json`.

    Raises:
        CheckpointError: there is no list, or it is damaged; names the first file that differs or is missing in either.
    """
    expected = _read_sums(folder / SUMS_FILE)
    if expected is None:
        expected = _read_manifest(folder / JSON_FILE)
    if expected is None:
        raise CheckpointError(f"{folder} is to be verified, and has neither {SUMS_FILE} nor {JSON_FILE}")
    names = _files_of(folder)
    for name in sorted(expected.keys() ^ set(names)):
        where = "is in the list of checksums, and is missing" if name in expected else "is in no list of checksums"
        raise CheckpointError(f"{folder / name} {where}; copy the whole folder again")
    for name, digest in _digests(folder, names, progress):
        if digest != expected[name]:
            raise CheckpointError(f"{folder / name} is damaged: its SHA-256 is {digest}, expected {expected[name]}")


def _files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file() and path.name not in MANIFESTS)


def _digests(folder: Path, names: list[str], progress: Progress) -> Iterator[tuple[str, str]]:
    progress.start("checksums", sum((folder / name).stat().st_size for name in names), "B")
    try:
        for name in names:
            yield name, _digest(folder / name, progress)
    finally:
        progress.finish()


def _digest(path: Path, progress: Progress) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while part := file.read(_PART_BYTES):
                digest.update(part)
                progress.advance(len(part))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()


def _read_sums(path: Path) -> Mapping[str, str] | None:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    if not lines or any(len(line) != 2 or len(line[0]) != _DIGEST_LENGTH for line in lines):
        raise CheckpointError(f"{path} is not a list of SHA-256 checksums and names")
    return {name.removeprefix("*").removeprefix("./"): digest.lower() for digest, name in lines}


def _read_manifest(path: Path) -> Mapping[str, str] | None:
    if not path.exists():
        return None
    files = read_json(path).get("files")
    entries = files if isinstance(files, dict) else {}
    digests = {str(name): item.get("sha256") if isinstance(item, dict) else item for name, item in entries.items()}
    if not digests or not all(isinstance(digest, str) and len(digest) == _DIGEST_LENGTH for digest in digests.values()):
        raise CheckpointError(f"{path} does not list its files with their SHA-256 under `files`")
    return {name: str(digest).lower() for name, digest in digests.items()}
