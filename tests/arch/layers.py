"""The layer rule as data, and its checkers; each returns one line per breach.

The layers are the design's. Packages that its table does not name are placed by what they need: `env`, `faults`,
`progress` and `shape` (a model's dimensions, read from config.json) need nothing, and `telemetry` needs `obs`;
`machine`, `resolve` and `checkpoint` (which finds and converts model folders) need those and `kv.sizing`, and no torch;
so do `inspection`, which tells what a model is, and `constraint`, which parses outputs; `llm` is the offline
counterpart of `server`, `perplexity` beside it uses the engine to compare formats, and `calibration` to time its steps.
"""

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from tests.arch.source import Import, ImportKind, within, within_any

# The part of `parallel` that computes; `plan` and `layout` are data.
PARALLEL = (
    "parallel.attention",
    "parallel.comm",
    "parallel.group",
    "parallel.layers",
    "parallel.share",
    "parallel.symmetric",
    "parallel.vocabulary",
)

# The part of `kv` that holds tensors; the others decide and count.
KV_MEMORY = ("kv.tensors", "kv.formats", "kv.host")

LAYERS: Mapping[str, int] = {
    f"llama4coder.{name}" if name else "llama4coder": layer
    for layer, names in enumerate(
        (
            (
                "",
                "types",
                "errors",
                "backend",
                "config",
                "resolved",
                "obs",
                "env",
                "faults",
                "progress",
                "families",
                "shape",
                "exclusions",
                "telemetry",
            ),
            (
                "tokenizer",
                "kv",
                "parallel",
                "parallel.plan",
                "spec.types",
                "spec.forecast",
                "checkpoint",
                "constraint",
                "inspection",
                "keys",
                "machine",
                "resolve",
                "resolve_draft",
                "resolve_folder",
                "resolve_host",
                "resolve_quant",
                "resolve_scaling",
                "scaling",
                "gpu.graph_sizes",
            ),
            ("layers", "attention", "native", "gpu", "models", "sampling", "quant", "convert", *KV_MEMORY, *PARALLEL),
            ("engine", "router", "planner", "workflows"),
            ("spec", "server", "cli", "llm", "perplexity", "simulator", "calibration"),
        )
    )
    for name in names
} | {"cluster": 5}

# Never import each other, not even for types.
SIBLINGS = tuple(f"llama4coder.{name}" for name in ("engine", "router", "planner", "workflows"))

# Imports that the layers alone would allow: the server meets an engine only through `backend`.
FORBIDDEN: Mapping[str, tuple[str, ...]] = {
    "llama4coder.server": tuple(
        f"llama4coder.{name}" for name in ("engine", "models", "layers", "attention", "sampling", "kv", "spec", "cli")
    ),
    "llama4coder.cli": ("llama4coder.server",),
}

# The package itself is a façade: it offers `LLM` by an import that only runs when somebody asks for it.
FACADES = ("llama4coder",)

TORCH = ("torch", "transformers", "safetensors.torch")

# Everything else of llama4coder can be imported without torch.
NEEDS_TORCH = tuple(
    f"llama4coder.{name}"
    for name in (
        *("layers", "attention", "native", "gpu", "models", "sampling", "quant", "convert", *KV_MEMORY, *PARALLEL),
        *("engine.hardware", "engine.runner", "engine.rank_state", "engine.step_batch", "engine.wanted"),
        "engine.constraints",
        *("engine.forward", "engine.graph_pass", "engine.pending", "engine.loading_rank", "engine.memory_meter", "llm"),
        *("spec.ranking", "spec.draft_model", "spec.draft_steps", "spec.session", "spec.sessions"),
        *("spec.drafter", "spec.local", "spec.local_loading", "perplexity.measure", "calibration.own_rank"),
    )
)

# May import torch inside a function: asks a GPU for its memory, on machines that have one.
DEFERS_TORCH = ("llama4coder.machine",)


def layer_of(module: str) -> int | None:
    """The layer of the longest entry that holds `module`; the root's own entry holds only itself."""
    entries = [name for name in LAYERS if within(module, name) and (name != "llama4coder" or module == name)]
    return LAYERS[max(entries, key=len)] if entries else None


def unplaced(modules: Iterable[str]) -> list[str]:
    return [f"{module} has no layer" for module in modules if layer_of(module) is None]


def upward(imports: Iterable[Import]) -> list[str]:
    """Imports that run and lead up."""
    breaches = []
    for found in imports:
        source, target = layer_of(found.source), layer_of(found.target)
        runs = found.kind is not ImportKind.TYPING and found.source not in FACADES
        if runs and source is not None and target is not None and source < target:
            breaches.append(f"{found}: L{source} up to L{target}")
    return breaches


def sideways(imports: Iterable[Import]) -> list[str]:
    """Imports between siblings, and those that a table forbids."""
    breaches = []
    for found in imports:
        source = next((name for name in SIBLINGS if within(found.source, name)), None)
        others = [name for name in SIBLINGS if name != source] if source else []
        forbidden = [target for name, targets in FORBIDDEN.items() if within(found.source, name) for target in targets]
        if within_any(found.target, [*others, *forbidden]):
            breaches.append(f"{found}: not allowed there")
    return breaches


def ray_outside_cluster(imports: Iterable[Import]) -> list[str]:
    return [
        f"{found}: only cluster may"
        for found in imports
        if within(found.target, "ray") and not within(found.source, "cluster")
    ]


def beyond_declarations(imports: Iterable[Import]) -> list[str]:
    return [
        f"{found}: dashboards know of the declared metrics alone"
        for found in imports
        if within(found.source, "dashboards")
        and within_any(found.target, ("llama4coder", "cluster"))
        and not within(found.target, "llama4coder.obs")
    ]


def cycles(imports: Iterable[Import]) -> list[str]:
    """The first cycle among imports that run."""
    graph: dict[str, set[str]] = {}
    for found in imports:
        if found.kind is not ImportKind.TYPING and found.source not in FACADES and found.source != found.target:
            graph.setdefault(found.source, set()).add(found.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" <- ".join(error.args[1])]
    return []


def torch_in_torch_free(modules: Iterable[str], imports: Iterable[Import]) -> list[str]:
    """Torch-free modules that reach torch when imported, or name it inside a function."""
    imports = list(imports)
    graph: dict[str, set[str]] = {}
    for found in imports:
        if found.kind is ImportKind.MODULE:
            graph.setdefault(found.source, set()).add(found.target)
    free = [module for module in modules if within(module, "llama4coder") and not within_any(module, NEEDS_TORCH)]
    breaches = [
        f"{module} reaches {path[-1]} by {' -> '.join(path)}" for module in free if (path := _road(module, graph))
    ]
    breaches += [
        f"{found}: inside a function"
        for found in imports
        if found.kind is ImportKind.FUNCTION
        and found.source in free
        and found.source not in DEFERS_TORCH
        and within_any(found.target, TORCH)
    ]
    return breaches


def _road(start: str, graph: Mapping[str, set[str]]) -> list[str]:
    """The imports that lead from a module to torch, or nothing; importing a.b runs a as well."""
    roads = [[start]]
    seen = {start}
    while roads:
        road = roads.pop()
        if within_any(road[-1], TORCH):
            return road
        for target in sorted(graph.get(road[-1], ())):
            parts = target.split(".")
            for step in (".".join(parts[:length]) for length in range(1, len(parts) + 1)):
                if step not in seen:
                    seen.add(step)
                    roads.append([*road, step])
    return []
