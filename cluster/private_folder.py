"""A folder for one run, which does not outlive it."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import TextIO

_PREFIX = "l4c-"
_LOCK = "lock"
_MAX_BASE_LENGTH = 24  # Ray puts Unix sockets below, whose paths may have 107 characters


class PrivateFolder:
    """Made with mode 0700, locked while its process lives; those of processes that were killed are swept away."""

    def __init__(self, base: Path | None = None) -> None:
        base = base or _short_base()
        _sweep(base)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        self._lock: TextIO = (self.path / _LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def remove(self) -> None:
        """Delete it and everything in it; idempotent."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _short_base() -> Path:
    usual = tempfile.gettempdir()
    return Path(usual if len(usual) <= _MAX_BASE_LENGTH else "/tmp")


def _sweep(base: Path) -> None:
    for folder in base.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # gone, being made, in use, or somebody else's
            if folder.stat().st_uid != os.getuid():
                continue
            with (folder / _LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
