"""The keys as they are in the file now."""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llama4coder.errors import ConfigError
from llama4coder.keys.key_file import read_keys
from llama4coder.keys.ring import KeyRing

_LOOK_EVERY_S = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Version:
    """Which content a file has: a replaced file is another inode."""

    inode: int
    modified_ns: int
    changed_ns: int
    num_bytes: int


class KeyStore:
    """Looks at its file once a second at most; while that is missing or broken the last good keys count.

    Raises:
        ConfigError: there are no good keys to begin with.
    """

    def __init__(self, file: Path, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._clock_s = clock_s
        self._version = _version_of(file)
        self._ring = KeyRing(read_keys(file))
        self._looked_s = clock_s()

    def ring(self) -> KeyRing:
        """The keys that count now."""
        now_s = self._clock_s()
        if now_s - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = now_s
            self._look()
        return self._ring

    def _look(self) -> None:
        version = _version_of(self._file)
        if version == self._version:
            return
        self._version = version
        try:
            self._ring = KeyRing(read_keys(self._file))
        except ConfigError as error:
            _log.error("%s; the keys from before count on", error)
        else:
            _log.warning("the key file was read again: %d keys", len(self._ring.records))


def _version_of(file: Path) -> _Version | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return _Version(found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
