"""What can be imported when Ray, or torch, is not there; in processes of their own, since this one has both."""

import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.arch.layers import NEEDS_TORCH
from tests.arch.source import REPOSITORY, all_imports, read_sources, within, within_any

# Imports the modules named on standard input in a process where the packages named as arguments do not exist.
IMPORT_WITHOUT = """
import importlib, sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[1:]:
            raise ModuleNotFoundError(f"No module named {name!r} (hidden)", name=name)

sys.meta_path.insert(0, Hidden())
for module in sys.stdin.read().split():
    importlib.import_module(module)
"""

MODULES = sorted(read_sources("llama4coder"))


def import_without(modules: list[str], *hidden: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", IMPORT_WITHOUT, *hidden],
        input="\n".join(modules),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_everything_outside_cluster_works_without_ray() -> None:
    assert import_without(MODULES, "ray").stderr == ""


def test_torch_free_modules_work_without_torch() -> None:
    torch_free = [module for module in MODULES if not within_any(module, NEEDS_TORCH)]
    assert "llama4coder.engine.scheduler" in torch_free
    assert import_without(torch_free, "ray", "torch", "transformers").stderr == ""


@pytest.mark.parametrize(("module", "hidden"), [("torch", "torch"), ("ray.serve", "ray")])
def test_hidden_package_cannot_be_imported(module: str, hidden: str) -> None:
    done = import_without([module], hidden)
    assert done.returncode != 0
    assert "(hidden)" in done.stderr


def test_the_package_offers_its_names() -> None:
    import llama4coder
    from llama4coder.types import SamplingParams

    assert llama4coder.SamplingParams is SamplingParams
    assert set(dir(llama4coder)) == {"LLM", "SamplingParams", "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = llama4coder.Nothing


def test_version_is_the_installed_one() -> None:
    import llama4coder

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert llama4coder.__version__ == project["version"]


@pytest.mark.parametrize(
    ("package", "extras"), [("llama4coder", ("gpu", "otlp")), ("cluster", ("cluster",)), ("dashboards", ())]
)
def test_every_import_is_declared(package: str, extras: tuple[str, ...]) -> None:
    declared = declared_distributions(extras)
    owners = packages_distributions()
    imported = {found.target.split(".")[0] for found in all_imports(read_sources(package))}
    third_party = {name for name in imported if name in owners and name not in ("llama4coder", "cluster")}
    undeclared = [name for name in third_party if not declared & {canonicalize_name(owner) for owner in owners[name]}]
    assert undeclared == []


def declared_distributions(extras: tuple[str, ...]) -> set[str]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = [line for extra in extras for line in project["optional-dependencies"][extra]]
    return {canonicalize_name(Requirement(line).name) for line in [*project["dependencies"], *optional]}


def test_console_script_is_in_cluster() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert within(project["scripts"]["llama4coder"].split(":")[0], "cluster")
