"""Source files and their imports, read without running them."""

import ast
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


class ImportKind(Enum):
    """When an import runs."""

    MODULE = auto()  # as soon as the module is imported
    FUNCTION = auto()  # when a function is called
    TYPING = auto()  # never: under `if TYPE_CHECKING`


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module, as the module at `source` names it."""

    source: str
    target: str
    line: int
    kind: ImportKind

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target}"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One parsed file; `module` is its dotted name."""

    module: str
    text: str
    is_package: bool = False

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)


def read_sources(*folders: str) -> dict[str, SourceFile]:
    """Every Python file below folders of the repository, by dotted name."""
    sources = {}
    for folder in folders:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            parts = path.relative_to(REPOSITORY).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            module = ".".join(parts[:-1] if is_package else parts)
            sources[module] = SourceFile(module, path.read_text(encoding="utf-8"), is_package)
    return sources


def within(module: str, prefix: str) -> bool:
    """Whether `module` is `prefix` or lies below it."""
    return module == prefix or module.startswith(prefix + ".")


def within_any(module: str, prefixes: Collection[str]) -> bool:
    return any(within(module, prefix) for prefix in prefixes)


def imports_of(source: SourceFile, known: Collection[str]) -> list[Import]:
    """The imports of one file; `known` tells submodules from names in `from package import x`."""
    finder = _ImportFinder(source, known)
    finder.visit(source.tree)
    return finder.found


def all_imports(sources: Mapping[str, SourceFile]) -> list[Import]:
    return [found for source in sources.values() for found in imports_of(source, sources.keys())]


class _ImportFinder(ast.NodeVisitor):
    def __init__(self, source: SourceFile, known: Collection[str]) -> None:
        self.found: list[Import] = []
        self._source = source
        self._known = known
        self._kind = ImportKind.MODULE

    def visit_Import(self, node: ast.Import) -> None:
        self._add(node.lineno, (alias.name for alias in node.names))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = self._base(node)
        submodules = (f"{base}.{alias.name}" for alias in node.names)
        self._add(node.lineno, dict.fromkeys(name if name in self._known else base for name in submodules))

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            self._visit_as(ImportKind.TYPING, node.body)
            self._visit_as(self._kind, node.orelse)
        else:
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._visit_as(ImportKind.FUNCTION, node.body)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._visit_as(ImportKind.FUNCTION, node.body)

    def _visit_as(self, kind: ImportKind, body: list[ast.stmt]) -> None:
        before, self._kind = self._kind, kind
        for statement in body:
            self.visit(statement)
        self._kind = before

    def _base(self, node: ast.ImportFrom) -> str:
        if node.level == 0:
            return node.module or ""
        package = self._source.module.split(".")
        dropped = node.level - 1 if self._source.is_package else node.level
        return ".".join([*package[: len(package) - dropped], *([node.module] if node.module else [])])

    def _add(self, line: int, targets: Iterator[str] | dict[str, None]) -> None:
        self.found.extend(Import(self._source.module, target, line, self._kind) for target in targets)
