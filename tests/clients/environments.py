"""Programs of others, each in an environment of its own, from the package registries."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_INSTALL_TIMEOUT_S = 900.0
_ERROR_CHARS = 300


def python_environment(folder: Path, *requirements: str) -> Path:
    """The `bin` of a new virtual environment with these packages; skips the test where no registry can be reached."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=_INSTALL_TIMEOUT_S)
    _install([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *requirements], folder)
    return folder / "bin"


def node_environment(folder: Path, *packages: str) -> Path:
    """A folder whose scripts find these packages; skips the test where there is no Node or no registry."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    _install(["npm", "install", "--silent", "--no-audit", "--no-fund", *packages], folder)
    return folder


def _install(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S, check=False)
    if done.returncode != 0:
        pytest.skip(f"{' '.join(command[-3:])} cannot be installed here: {done.stderr[-_ERROR_CHARS:]}")
