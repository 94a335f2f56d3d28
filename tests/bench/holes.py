"""Holes in the standard library's own source: the ends of lines, and whole blocks of lines."""

import ast
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_PREFIX_CHARS = 1600
MAX_SUFFIX_CHARS = 600
_MIN_FILE_CHARS = 4000
_MIN_LINE_CHARS = 16
_BLOCK_LINES = range(2, 6)


@dataclass(frozen=True)
class SourceHole:
    """A file of which a part is missing."""

    path: str
    prefix: str
    middle: str
    suffix: str
    is_single_line: bool

    @property
    def near_prefix(self) -> str:
        """Whole lines of what a prompt may hold."""
        cut = self.prefix[-MAX_PREFIX_CHARS:]
        return cut if cut == self.prefix else cut[cut.index("\n") + 1 :]

    @property
    def near_suffix(self) -> str:
        """The same behind the hole."""
        cut = self.suffix[:MAX_SUFFIX_CHARS]
        return cut if cut == self.suffix else cut[: cut.rindex("\n") + 1]

    def filled(self, answer: str) -> str:
        """The whole file with an answer in it."""
        return self.prefix + answer + self.suffix


def source_holes(num_single: int, num_multi: int, seed: int) -> list[SourceHole]:
    """So many of both, each in a file of its own; the same for the same Python and seed."""
    noise = random.Random(seed)
    paths = sorted(Path(os.__file__).parent.glob("*.py"))
    noise.shuffle(paths)
    found: list[SourceHole] = []
    for is_single_line, number in ((True, num_single), (False, num_multi)):
        fitting = (hole for path in paths for hole in _hole_in(path, is_single_line, noise))
        chosen = {hole.path for hole in found}
        fresh = (hole for hole in fitting if hole.path not in chosen)
        found += [hole for hole, _ in zip(fresh, range(number), strict=False)]
    return found


def _hole_in(path: Path, is_single_line: bool, noise: random.Random) -> Iterator[SourceHole]:
    """At most one, in a statement of a function."""
    text = path.read_text(encoding="utf-8")
    if len(text) < _MIN_FILE_CHARS:
        return
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    lines = text.splitlines(keepends=True)
    candidates = [
        statement for function in functions for statement in function.body if _fits(statement, lines, is_single_line)
    ]
    if not candidates:
        return
    statement = noise.choice(candidates)
    first, last = statement.lineno - 1, (statement.end_lineno or statement.lineno) - 1
    code = len(lines[first]) - len(lines[first].lstrip())
    start = code + (noise.randrange((len(lines[first]) - code) // 2) if is_single_line else 0)
    before, after = "".join(lines[:first]) + lines[first][:start], "\n" + "".join(lines[last + 1 :])
    yield SourceHole(path.name, before, text[len(before) : len(text) - len(after)], after, is_single_line)


def _fits(statement: ast.stmt, lines: list[str], is_single_line: bool) -> bool:
    """No documentation, which nobody could guess."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return False
    num_lines = (statement.end_lineno or statement.lineno) - statement.lineno + 1
    if is_single_line:
        return num_lines == 1 and len(lines[statement.lineno - 1].strip()) >= _MIN_LINE_CHARS
    return num_lines in _BLOCK_LINES
