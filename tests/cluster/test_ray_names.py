"""What of Ray is not public: all in one list, all of it there, and missed with a sentence."""

import ast
from pathlib import Path

import pytest

from cluster import ray_names
from cluster.app import build_app
from cluster.drain_command import Head
from cluster.ray_names import ALL, RayName, check_ray_names
from cluster.startup import deploy
from llama4coder.errors import ConfigError

CLUSTER = Path(ray_names.__file__).parent
OF_INSTANCES = {ray_names.REPLICA_IMPL, ray_names.IS_STOPPING}


def is_private(module: str) -> bool:
    parts = module.split(".")
    return parts[0] == "ray" and (any(part.startswith("_") for part in parts) or {"core", "experimental"} & {*parts})


def private_uses(source: str) -> list[str]:
    """Imports of what is private in Ray, and private attributes of anything but the code's own objects."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if is_private(alias.name)]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name for name in names if is_private(name)]
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                found.append(node.attr)
    return found


def test_all_are_there() -> None:
    check_ray_names()


def test_the_list_is_complete() -> None:
    declared = {value for value in vars(ray_names).values() if isinstance(value, RayName)}
    assert declared == {*ALL} | OF_INSTANCES


def test_nothing_private_is_used_elsewhere() -> None:
    found = {file.name: private_uses(file.read_text()) for file in CLUSTER.rglob("*.py")}
    assert {file: uses for file, uses in found.items() if uses} == {}


def test_what_is_private_is_seen() -> None:
    source = "import ray._private.state\nfrom ray.serve.context import _get_global_client\nfrom ray import serve\n"
    source += "from ray.core.generated import x\nworker._impl\nself._own\n"
    assert len(private_uses(source)) == 4


@pytest.mark.parametrize("name", ALL, ids=lambda name: name.path)
def test_an_application_is_not_built_on_another_ray(name: RayName, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = RayName(name.module, f"{name.path}_that_is_gone", name.use)
    monkeypatch.setattr(ray_names, "ALL", tuple(absent if one is name else one for one in ALL))
    with pytest.raises(ConfigError, match=f"has no {name.module}.{name.path}_that_is_gone, which .* needs: install"):
        build_app({})


def test_a_module_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = RayName("ray._private.nothing_of_the_kind", "x", "this")
    with pytest.raises(ConfigError, match=r"has no ray\._private.nothing_of_the_kind.x, which this needs"):
        gone.find()


def test_a_file_is_not_deployed_on_another_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("ray.serve._private.api.serve_start")
    content = {"applications": [{"name": "one", "import_path": "cluster.app:build_app"}]}
    with pytest.raises(ConfigError, match="serve_start, which deploying"):
        deploy(content)


def test_a_node_is_not_drained_by_another_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("ray._private.services.canonicalize_bootstrap_address_or_die")
    with pytest.raises(ConfigError, match="finding the head"):
        Head("127.0.0.1:1")


def test_an_instance_without_it() -> None:
    with pytest.raises(ConfigError, match=r"Replica\._shutting_down, which a replica that knows of its end needs"):
        ray_names.IS_STOPPING.of(object())
