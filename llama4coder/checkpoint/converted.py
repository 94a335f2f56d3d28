"""GGUF files of the operator's own: each converted once into the cache, found there afterwards."""

import hashlib
from pathlib import Path

from llama4coder.checkpoint.gguf import CONVERSION, convert_gguf
from llama4coder.checkpoint.manifest import is_intact
from llama4coder.env import CACHE_VARIABLE
from llama4coder.errors import CheckpointError, ConfigError
from llama4coder.progress import Progress

_HEAD_BYTES = 2**20


def ensure_converted(source: Path, cache_dir: Path, progress: Progress) -> Path:
    """The model folder made of a GGUF file, named like the file; converted on the first call.

    Raises `CheckpointError` for a file that cannot be converted, `ConfigError` if the cache cannot be written.
    """
    target = cache_dir / "models" / f"gguf-{_key(source)}" / source.stem
    if not is_intact(target):
        convert_into_cache(source, target, cache_dir, progress)
    return target


def convert_into_cache(source: Path, target: Path, cache_dir: Path, progress: Progress) -> None:
    """Convert `source` into `target`, a folder below `cache_dir`.

    Raises `CheckpointError` for a file that cannot be converted, `ConfigError` if the cache cannot be written.
    """
    try:
        convert_gguf(source, target, progress)
    except OSError as error:
        raise ConfigError(
            f"cannot write the cache folder {cache_dir}: {error.strerror or error}; "
            f"set {CACHE_VARIABLE} to a folder that can be written"
        ) from error


def _key(source: Path) -> str:
    """Tells files apart without reading them whole: by size, time of change, and settings, which come first."""
    try:
        status = source.stat()
        with source.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise CheckpointError(f"cannot read {source}: {error.strerror or error}") from error
    digest = hashlib.sha256(f"{CONVERSION} {status.st_size} {status.st_mtime_ns} ".encode())
    digest.update(head)
    return digest.hexdigest()[:10]
