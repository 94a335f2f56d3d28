"""Making a folder appear at once and whole, however many processes make it at the same time."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llama4coder.checkpoint.manifest import is_intact, write_manifest


@contextmanager
def published_folder(target: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; on success it becomes `target`, on failure it vanishes.

    An intact `target`, as another process may have made meanwhile, stays; a damaged one is replaced.
    Raises `OSError` where the disk says no.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        temporary.chmod(0o755)
        yield temporary
        write_manifest(temporary)
        _sync(temporary)
        _move(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; on success it becomes `target`, which must not exist, on failure it vanishes.

    Raises `OSError` where the disk says no, or somebody else has made `target` meanwhile.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        temporary.chmod(0o755)
        yield temporary
        _sync(temporary)
        os.rename(temporary, target)
        _sync_entry(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move(temporary: Path, target: Path) -> None:
    while True:
        try:
            os.rename(temporary, target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            if is_intact(target):
                return
            _remove_aside(target)
        else:
            _sync_entry(target.parent)
            return


def _remove_aside(target: Path) -> None:
    """Remove a damaged folder in one step as far as others can see."""
    aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        os.rename(target, aside / "damaged")
    except FileNotFoundError:
        pass  # another process was faster
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        _sync_entry(path)
    _sync_entry(folder)


def _sync_entry(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
