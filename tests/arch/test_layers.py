"""The layer rule holds, and its checkers see a breach."""

import textwrap

import pytest

from tests.arch import layers
from tests.arch.source import Import, ImportKind, SourceFile, all_imports, read_sources, within

SOURCES = read_sources("llama4coder", "cluster")
IMPORTS = all_imports(SOURCES)


def sample(**modules: str) -> dict[str, SourceFile]:
    """Source files from text; `__` in a name stands for a dot."""
    names = {name.replace("__", "."): textwrap.dedent(text) for name, text in modules.items()}
    return {name: SourceFile(name, text) for name, text in names.items()}


def test_there_is_something_to_check() -> None:
    assert "llama4coder.types" in SOURCES
    assert any(found.target == "llama4coder.types" for found in IMPORTS)


def test_every_module_has_a_layer() -> None:
    assert layers.unplaced(SOURCES) == []


def test_imports_lead_down() -> None:
    assert layers.upward(IMPORTS) == []


def test_siblings_do_not_import_each_other() -> None:
    assert layers.sideways(IMPORTS) == []


def test_only_cluster_imports_ray() -> None:
    assert layers.ray_outside_cluster(IMPORTS) == []


def test_dashboards_know_of_the_declared_metrics_alone() -> None:
    imports = all_imports(read_sources("dashboards", "llama4coder"))
    assert any(within(found.source, "dashboards") for found in imports)
    assert layers.beyond_declarations(imports) == []
    assert len(layers.beyond_declarations([Import("dashboards.x", "llama4coder.engine", 1, ImportKind.MODULE)])) == 1


def test_no_cycles() -> None:
    assert layers.cycles(IMPORTS) == []


def test_torch_stays_where_it_is_needed() -> None:
    assert layers.torch_in_torch_free(SOURCES, IMPORTS) == []


def test_unplaced_module_is_seen() -> None:
    assert layers.unplaced(["llama4coder.kv.tensors", "llama4coder.gadgets"]) == ["llama4coder.gadgets has no layer"]


@pytest.mark.parametrize(
    ("source", "target", "breaches"),
    [
        ("llama4coder.kv.block_pool", "llama4coder.engine.plan", 1),
        ("llama4coder.kv.block_pool", "llama4coder.kv.tensors", 1),
        ("llama4coder.server.app", "cluster.app", 1),
        ("llama4coder.engine.runner", "llama4coder.kv.tensors", 0),
        ("llama4coder.types", "llama4coder.errors", 0),
        ("llama4coder", "llama4coder.engine.llm", 0),
    ],
)
def test_upward_import_is_seen(source: str, target: str, breaches: int) -> None:
    assert len(layers.upward([Import(source, target, 1, ImportKind.FUNCTION)])) == breaches
    assert layers.upward([Import(source, target, 1, ImportKind.TYPING)]) == []


@pytest.mark.parametrize(
    ("source", "target", "breaches"),
    [
        ("llama4coder.engine.engine", "llama4coder.router.policy", 1),
        ("llama4coder.planner.plan", "llama4coder.engine", 1),
        ("llama4coder.server.app", "llama4coder.engine.async_engine", 1),
        ("llama4coder.engine.engine", "llama4coder.engine.plan", 0),
        ("cluster.app", "llama4coder.engine.engine", 0),
    ],
)
def test_sideways_import_is_seen(source: str, target: str, breaches: int) -> None:
    assert len(layers.sideways([Import(source, target, 1, ImportKind.TYPING)])) == breaches


def test_ray_outside_cluster_is_seen() -> None:
    bad = Import("llama4coder.server.app", "ray.serve", 3, ImportKind.FUNCTION)
    good = Import("cluster.app", "ray.serve", 3, ImportKind.MODULE)
    assert layers.ray_outside_cluster([bad, good]) == ["llama4coder.server.app:3 imports ray.serve: only cluster may"]


def test_cycle_is_seen_even_inside_a_function() -> None:
    modules = sample(
        a="from b import x",
        b="""
        def later():
            import a
        """,
    )
    assert len(layers.cycles(all_imports(modules))) == 1


def test_type_checking_import_makes_no_cycle() -> None:
    modules = sample(
        a="import b",
        b="""
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            import a
        """,
    )
    assert layers.cycles(all_imports(modules)) == []


def test_torch_behind_another_module_is_seen() -> None:
    modules = sample(
        llama4coder__kv="",
        llama4coder__kv__tensors="import torch",
        llama4coder__kv__block_pool="from llama4coder.kv import tensors",
        llama4coder__engine__scheduler="from llama4coder.kv.block_pool import BlockPool",
    )
    breaches = layers.torch_in_torch_free(modules, all_imports(modules))
    assert breaches[-1].startswith("llama4coder.engine.scheduler reaches torch by")
    assert len(breaches) == 2


def test_torch_in_a_function_is_seen_unless_it_may_be() -> None:
    deferred = "def look():\n    import torch.cuda\n"
    modules = sample(llama4coder__engine__scheduler=deferred, llama4coder__machine=deferred)
    assert layers.torch_in_torch_free(modules, all_imports(modules)) == [
        "llama4coder.engine.scheduler:2 imports torch.cuda: inside a function"
    ]


def test_relative_imports_are_resolved() -> None:
    package = SourceFile("a.b", "from . import c\nfrom ..d import e\n", is_package=True)
    module = SourceFile("a.b.x", "from .c import y\nfrom . import c\n")
    known = {"a.b.c": module, "a.d": module}
    found = [(item.source, item.target) for item in all_imports({"a.b": package, "a.b.x": module, **known}) if item]
    assert ("a.b", "a.b.c") in found
    assert ("a.b", "a.d") in found
    assert ("a.b.x", "a.b.c") in found
