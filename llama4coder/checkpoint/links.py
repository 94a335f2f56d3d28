"""Symbolic links in checkpoint folders: a model that somebody sends must not read files that are not part of it."""

import os
from pathlib import Path

from llama4coder.errors import CheckpointError

_SUFFIXES = frozenset({".json", ".jinja", ".model", ".safetensors", ".txt"})  # of files that may be read


def check_links(folder: Path) -> None:
    """Links may lead to files of the folder, and in a cache of Hugging Face's, where a folder is a snapshot, to blobs.

    Raises:
        CheckpointError: names a link that leads elsewhere, or nowhere.
    """
    home = Path(os.path.realpath(folder))
    blobs = home.parent.parent / "blobs" if home.parent.name == "snapshots" else home
    try:
        links = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES and path.is_symlink())
    except OSError as error:
        raise CheckpointError(f"cannot read {folder}: {error.strerror or error}") from error
    for link in links:
        target = Path(os.path.realpath(link))
        if not target.is_file():
            raise CheckpointError(f"{link} is a link that leads to no file; copy the whole folder again")
        if not target.is_relative_to(home) and target.parent != blobs:
            raise CheckpointError(f"{link} is a link that leaves the model folder, to {target}; copy the file")
