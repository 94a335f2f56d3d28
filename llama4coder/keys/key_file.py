"""The file of keys: JSON, readable by its owner, replaced as a whole."""

import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from llama4coder.errors import ConfigError
from llama4coder.keys.record import KeyRecord

_FORBIDDEN_MODE = 0o027  # others may do nothing; a group may read, as Kubernetes mounts secrets


class _Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: tuple[KeyRecord, ...]


def read_keys(file: Path) -> tuple[KeyRecord, ...]:
    """All keys of a file. Raises `ConfigError`, which quotes nothing of the file."""
    try:
        with file.open("rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            content = opened.read()
    except OSError as error:
        raise ConfigError(f"the key file {file} cannot be read: {error.strerror}") from None
    if mode & _FORBIDDEN_MODE:
        raise ConfigError(f"the key file {file} is open to others (mode {mode:04o}); chmod 600 it")
    return _parse(file, content)


def change_keys(file: Path, change: Callable[[tuple[KeyRecord, ...]], Sequence[KeyRecord]]) -> None:
    """Replace the keys, or make the first file; two changes at a time wait for each other."""
    with _locked(file.parent):
        _write(file, change(read_keys(file) if file.exists() else ()))


def _parse(file: Path, content: bytes) -> tuple[KeyRecord, ...]:
    try:
        keys = msgspec.json.decode(content, type=_Content).keys
    except msgspec.ValidationError as error:
        place = str(error).rpartition(" - at ")[2].strip("`") if " - at " in str(error) else "$"
        raise ConfigError(f"the key file {file} is wrong at {place}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ConfigError(f"the key file {file} is not JSON") from None
    for field in ("name", "sha256"):
        if len({getattr(key, field) for key in keys}) != len(keys):
            raise ConfigError(f"the key file {file} has a {field} twice")
    return keys


def _write(file: Path, keys: Sequence[KeyRecord]) -> None:
    content = msgspec.json.format(msgspec.json.encode(_Content(tuple(keys))), indent=2)
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # with mode 0600
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content + b"\n")
            opened.flush()
            os.fsync(opened.fileno())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
