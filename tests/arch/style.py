"""Habits that no linter here checks: the size budget, one reader of the environment, no print outside the CLI."""

import ast
from collections.abc import Iterable

from tests.arch.source import SourceFile, within_any

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

READS_ENVIRONMENT = ("llama4coder.env", "cluster.env", "tests")
PRINTS = ("llama4coder.cli", "cluster.cli", "scripts", "tests")

# Names of fields that hold what clients wrote or were answered, whatever the type; the others only as plain strings.
CONTENT = frozenset({"token_id", "prediction", "lark", "arguments"})
CONTENT_TEXTS = frozenset({"text", "content", "prefix", "suffix", "middle", "stop", "description"})
NO_CONTENT = frozenset({"eos_token_ids", "stop_token_ids"})
NOT_OF_CLIENTS = ("llama4coder.inspection", "llama4coder.tokenizer.fim_families")  # what models say of themselves

ENVIRONMENT_NAMES = frozenset({"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"})


def oversized(sources: Iterable[SourceFile]) -> list[str]:
    """Files and functions over the budget; a function counts from its `def` to its last line."""
    breaches = []
    for source in sources:
        num_lines = len(source.text.splitlines())
        if num_lines > MAX_FILE_LINES:
            breaches.append(f"{source.module} has {num_lines} lines")
        for node in ast.walk(source.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    breaches.append(f"{source.module}:{node.lineno} {node.name} has {length} lines")
    return breaches


def environment_readers(sources: Iterable[SourceFile]) -> list[str]:
    """Modules that touch the environment and are not the ones that may."""
    return [
        f"{source.module}:{node.lineno} touches the environment"
        for source in sources
        if not within_any(source.module, READS_ENVIRONMENT)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ImportFrom | ast.Attribute) and _touches_environment(node)
    ]


def printers(sources: Iterable[SourceFile]) -> list[str]:
    """Modules that print and are no command line."""
    return [
        f"{source.module}:{node.lineno} prints"
        for source in sources
        if not within_any(source.module, PRINTS)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "pprint")
    ]


def tellers(sources: Iterable[SourceFile]) -> list[str]:
    """Dataclasses that hold content and would show it in a `repr`, which ends up in logs and tracebacks."""
    return [
        f"{source.module}:{node.lineno} {node.name} shows content"
        for source in sources
        if not within_any(source.module, NOT_OF_CLIENTS)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef) and any(map(_is_content, node.body))
        for decorator in map(ast.unparse, node.decorator_list)
        if decorator.startswith("dataclass") and "repr=False" not in decorator
    ]


def _is_content(field: ast.stmt) -> bool:
    if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
        return False
    name, kind = field.target.id, ast.unparse(field.annotation)
    if name in CONTENT or (name.endswith("token_ids") and name not in NO_CONTENT):
        return True
    return name in CONTENT_TEXTS and kind.split(" | ")[0] in ("str", "tuple[str, ...]")


def _touches_environment(node: ast.ImportFrom | ast.Attribute) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "os" and any(alias.name in ENVIRONMENT_NAMES for alias in node.names)
    return node.attr in ENVIRONMENT_NAMES and isinstance(node.value, ast.Name) and node.value.id == "os"
