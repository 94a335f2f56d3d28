"""A converted folder's own list of its files, so that a damaged one is noticed without reading it."""

import json
from pathlib import Path

MANIFEST_FILE = "conversion.json"


def write_manifest(folder: Path) -> None:
    """List the files of `folder` with their sizes; to be written last."""
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    (folder / MANIFEST_FILE).write_text(json.dumps({"files": sizes}, indent=1), encoding="utf-8")


def is_intact(folder: Path) -> bool:
    """Whether every listed file is there with its size; a few milliseconds however large the files."""
    try:
        content = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        return all((folder / name).stat().st_size == size for name, size in content["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
