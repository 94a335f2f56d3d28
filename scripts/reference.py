"""Write docs/configuration.md and docs/metrics.md from the declarations in the source; a test compares them.

Usage: python scripts/reference.py
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GENERATED = "<!-- Made by scripts/reference.py from {source}; change it there, then run `make docs`. -->\n"

# Where each class of config.py stands in the file.
SECTIONS = {
    "ModelConfig": "model.",
    "EngineConfig": "engine.",
    "PlacementConfig": "placement.",
    "SpeculationConfig": "speculation.",
    "DraftConfig": "speculation.draft.",
    "PoolConfig": "speculation.pool.",
    "RouterConfig": "router.",
    "ScalingConfig": "scaling.",
    "ServerConfig": "server.",
    "TelemetryConfig": "telemetry.",
    "PlanConfig": "plan.",
    "DeploymentConfig": "",
}


def main() -> None:
    """Write every generated page."""
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")


def pages() -> dict[Path, str]:
    """The generated pages and what they must hold."""
    config, metrics = Path("llama4coder/config.py"), Path("llama4coder/obs/declared")
    return {
        ROOT / "docs/configuration.md": configuration_page(config, (ROOT / config).read_text(encoding="utf-8")),
        ROOT / "docs/metrics.md": metrics_page(metrics),
    }


def configuration_page(source: Path, text: str) -> str:
    lines = [
        "# Configuration\n",
        GENERATED.format(source=source),
        "Everything below stands under `args` of the application in a Ray Serve config file, such as",
        "`deploy/serve/embedded-cpu.yaml`. Unknown keys are refused; `auto` is resolved at start, and printed.\n",
    ]
    tree = ast.parse(text)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name in SECTIONS:
            rows = list(_fields(node, SECTIONS[node.name], _type_names(tree)))
            lines += ["## " + SECTIONS[node.name].rstrip(".") if SECTIONS[node.name] else "## Top level"]
            lines += [f"\n{ast.get_docstring(node)}\n", *_table(("Key", "Type", "Default", "Meaning"), rows), ""]
    return "\n".join(lines)


def metrics_page(source: Path) -> str:
    texts = (path.read_text(encoding="utf-8") for path in (ROOT / source).glob("*.py"))
    rows = sorted(row for text in texts for row in _metrics(ast.parse(text)))
    return "\n".join(
        [
            "# Metrics\n",
            GENERATED.format(source=source),
            "`GET /metrics` on the endpoint answers for the whole deployment, in Prometheus text format: counters and",
            "histograms are summed over processes, gauges carry a `replica` label.\n",
            *_table(("Name", "Kind", "Labels", "Meaning"), rows),
            "",
        ]
    )


def _fields(node: ast.ClassDef, prefix: str, names: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """One row per field that is no section of its own."""
    for field, following in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(field, ast.AnnAssign) or ast.unparse(field.annotation).removesuffix(" | None") in SECTIONS:
            continue
        meaning = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            meaning = " ".join(str(following.value.value).split())
        key = f"`{prefix}{ast.unparse(field.target)}`"
        default = "needed" if field.value is None else f"`{_value(field.value)}`"
        yield key, _type(field.annotation, names), default, meaning


def _type(annotation: ast.expr, names: Mapping[str, str]) -> str:
    """A type in words; `names` are those that the module defines."""
    if isinstance(annotation, ast.BinOp):
        return f"{_type(annotation.left, names)} or {_type(annotation.right, names)}"
    if not isinstance(annotation, ast.Subscript):
        plain = ast.unparse(annotation)
        return names.get(plain, plain).replace("None", "null")
    kind, inner = ast.unparse(annotation.value), annotation.slice
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if kind == "Literal":
        return " or ".join(f"`{ast.literal_eval(part)}`" for part in parts)
    if kind == "Annotated":
        return f"{_type(parts[0], names)} {_bounds(parts[1])}"
    if kind == "Mapping":
        return "mapping"
    return f"list of {_type(parts[0], names)}"


def _bounds(field: ast.expr) -> str:
    assert isinstance(field, ast.Call)
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return " ".join(f"{signs[bound.arg]} {ast.unparse(bound.value)}" for bound in field.keywords if bound.arg in signs)


def _type_names(tree: ast.Module) -> dict[str, str]:
    """What `Name = Literal[...]` of the module stands for."""
    assigned = [node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript)]
    return {"PositiveInt": "int > 0", "NonNegativeInt": "int ≥ 0"} | {
        ast.unparse(node.targets[0]): _type(node.value, {}) for node in assigned
    }


def _value(node: ast.expr) -> str:
    """A default as YAML has it; products and powers are worked out."""
    if isinstance(node, ast.BinOp):
        left, right = int(_value(node.left)), int(_value(node.right))
        return str(left**right if isinstance(node.op, ast.Pow) else left * right)
    plain = ast.unparse(node).strip("'\"")
    return {"None": "null", "True": "true", "False": "false", "()": "[]"}.get(plain, plain)


def _metrics(tree: ast.Module) -> Iterator[tuple[str, ...]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Counter", "Gauge", "Histogram"):
            name, meaning, *rest = (ast.literal_eval(argument) for argument in node.args)
            labels = ", ".join(f"`{label}`" for label in (rest[0] if rest else ()))
            yield f"`{name}`", ast.unparse(node.func).lower(), labels, meaning


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (header, tuple("---" for _ in header), *rows)]


if __name__ == "__main__":
    main()
