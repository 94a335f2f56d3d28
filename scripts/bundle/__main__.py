"""`python -m scripts.bundle FOLDER`: collect, list, and seal."""

import argparse
import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.bundle import licences, wheels
from scripts.bundle.sbom import write_sbom
from scripts.bundle.wheels import ROOT, Wheel, sha256

SUMS = "SHA256SUMS"
_FOLDERS = ("deploy", "dashboards", "docs")  # those that there are
_FILES = ("README.md", "CHANGELOG.md", "LICENSE", "constraints.txt")
_EXTRAS = {"cpu": "cluster,otlp", "cuda": "cluster,gpu,otlp"}


def main() -> int:
    """Make a bundle; returns the exit status."""
    parser = argparse.ArgumentParser(prog="make bundle OUT=FOLDER", description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder that does not exist, or is empty")
    parser.add_argument("--torch", choices=sorted(_EXTRAS), default="cpu", help="for which machines")
    asked = parser.parse_args()
    folder: Path = asked.folder
    if folder.exists() and any(folder.iterdir()):
        return _fail(f"{folder} is not empty; name another folder, or remove it")
    print("==> Collecting wheels (minutes the first time)", flush=True)
    try:
        wheels.collect(folder / "wheels", _EXTRAS[asked.torch])
    except subprocess.CalledProcessError:
        return _fail("pip could not collect everything; what it said is above")
    found = wheels.read(folder / "wheels")
    if (kind := wheels.torch_kind(found)) != asked.torch:
        return _fail(
            f"pip found torch for {kind}, not for {asked.torch}; name an index that has it, such as "
            f"PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu, or ask for TORCH={kind}"
        )
    print("==> Writing lists", flush=True)
    fill(folder, found, kind)
    seal(folder)
    return _report(folder, found)


def fill(folder: Path, found: list[Wheel], kind: str) -> None:
    """Everything but the wheels and the checksums."""
    for name in filter(lambda name: (ROOT / name).is_dir(), _FOLDERS):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    for name in _FILES:
        shutil.copy2(ROOT / name, folder / name)
    shutil.copy2(ROOT / "deploy" / "install", folder / "install")
    (folder / "requirements.txt").write_text("".join(f"{wheel.pinned}\n" for wheel in found))
    (folder / "LICENCES.md").write_text(licences.listing(found), encoding="utf-8")
    write_sbom(found, folder / "sbom.cdx.json")
    (project,) = [wheel for wheel in found if wheel.name == "llama4coder"]
    about = {"version": project.version, "torch": kind, "python": sys.implementation.cache_tag}
    about |= {"system": platform.system(), "machine": platform.machine()}
    (folder / "bundle.json").write_text(json.dumps(about, indent=2) + "\n")


def seal(folder: Path) -> None:
    """Write the digests of all files, as `sha256sum --check` reads them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    (folder / SUMS).write_text("".join(f"{sha256(path)}  {path.relative_to(folder)}\n" for path in files))


def _report(folder: Path, found: list[Wheel]) -> int:
    size_mb = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    if missing := licences.unknown(found):
        print(f"packages that do not say their licence: {', '.join(missing)}", file=sys.stderr)
    print(f"==> {folder}: {len(found)} packages, {size_mb:.0f} MB")
    print(f"Give whoever installs it this digest of {SUMS}, by another way:\n{sha256(folder / SUMS)}")
    return 0


def _fail(text: str) -> int:
    print(f"error: {text}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
