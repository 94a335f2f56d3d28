"""An answer ends where its block is complete, and what is broken off or repeated at its end is dropped."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tree_sitter import Tree

from llama4coder.server import syntax
from llama4coder.server.languages import LANGUAGES, language_of, parser_of
from llama4coder.server.syntax import cut_at_syntax

IN_FUNCTION = "def f(x):\n    y = 1\n    "


def kept(prefix: str, answer: str, suffix: str, language: str = "python") -> str:
    return answer[: cut_at_syntax(prefix, answer, suffix, language)]


@pytest.mark.parametrize(
    ("prefix", "answer", "suffix", "expected"),
    [
        (IN_FUNCTION, "return x + y", "\n", "return x + y"),
        (IN_FUNCTION, "z = x\n    return z", "\n\ndef g():\n    pass\n", "z = x\n    return z"),
        (IN_FUNCTION, "return x\n\n\ndef g():\n    return 2", "\n", "return x"),
        (IN_FUNCTION, "return x\n\n\ndef g(", "\n\nprint(f(1))\n", "return x"),
        (IN_FUNCTION, "z = x\n    return foo(z", "\n\nprint(f(1))\n", "z = x"),
        ("def f(x):\n    ", "return x\n\ndef g():\n    return 2", "\n", "return x"),
        ("print(len(", "x))", "))\n", "x"),
        ("def add(", "a, b):\n    return a\n\ndef other(c", "):\n    pass\n", "a, b"),
        ("class A:\n    def f(self):\n        ", "return 1\n\nx = A()", "\n", "return 1"),
        ("if x:\n    ", "y()\nelse:\n    z()", "\n", "y()\nelse:\n    z()"),
        ("x = ", "1\ny = 2", "\n", "1\ny = 2"),
        ("x = 1\n", "", "y = 2\n", ""),
        ("def f(:\n  broken\n\ndef g():\n    ", "return 1", "\n", "return 1"),
        ("s = 'é'\ndef f():\n    ", "return 'é'\n\ndef g():\n    pass", "\n", "return 'é'"),
    ],
)
def test_python(prefix: str, answer: str, suffix: str, expected: str) -> None:
    assert kept(prefix, answer, suffix) == expected


@pytest.mark.parametrize(
    ("language", "prefix", "answer", "suffix", "expected"),
    [
        ("javascript", "function f(x) {\n  ", "return x;\n}\n\nfunction g() {", "\n}\n", "return x;"),
        ("javascript", "function f(x) {\n  ", "return x;\n}\n\nfunction g() {\n  return 1;\n}", "\n", "return x;\n}"),
        ("javascript", "foo(() => {\n  ", "bar();\n});", "\n", "bar();\n});"),
        ("typescript", "function f(x: number): number {\n  ", "return x;\n}\nlet y = (", "\n}\n", "return x;"),
        ("tsx", "const a = <div>{", "x}</div>;", "\n", "x}</div>;"),
        ("go", "package a\n\nfunc f() int {\n\t", "return 1\n}\n\nfunc g() {", "\n}\n", "return 1"),
        ("rust", "fn f() -> i32 {\n    ", "1\n}\n\nfn g() {", "\n}\n", "1"),
        ("java", "class A {\n  int f() {\n    ", "return 1;\n  }\n\n  int g() {", "\n  }\n}\n", "return 1;"),
        ("c", "int f(void) {\n  ", "return 1;\n}\n\nint g(void) {", "\n}\n", "return 1;"),
        ("cpp", "class A {\n  int f() {\n    ", "return 1;\n  }\n  int g() {", "\n  }\n};\n", "return 1;"),
    ],
)
def test_other_languages(language: str, prefix: str, answer: str, suffix: str, expected: str) -> None:
    assert kept(prefix, answer, suffix, language) == expected


CODE = st.text(alphabet="def f(x):\n    return {}[];'\"é\ud800", max_size=60) | st.text(max_size=40)


@settings(deadline=None)
@given(prefix=CODE, answer=CODE, suffix=CODE, language=st.sampled_from(LANGUAGES))
def test_whatever_comes_a_beginning_of_the_answer_is_kept(prefix: str, answer: str, suffix: str, language: str) -> None:
    length = cut_at_syntax(prefix, answer, suffix, language)
    assert 0 <= length <= len(answer)


@pytest.mark.parametrize("prefix", ["f(", "f(\n" * 300_000])
def test_nonsense_takes_bounded_time(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []

    class CountingParser:
        def __init__(self, language: str) -> None:
            self._parser = parser_of(language)

        def parse(self, source: bytes) -> Tree:
            parsed.append(len(source))
            return self._parser.parse(source)

    monkeypatch.setattr(syntax, "parser_of", CountingParser)
    assert cut_at_syntax(prefix, "(\n" * 5000, "", "python") <= 10_000
    assert len(parsed) <= 70 and sum(parsed) <= 8 * 2**20


@pytest.mark.parametrize(
    ("path", "language"), [("a/b.py", "python"), ("B.TSX", "tsx"), ("x.hpp", "cpp"), ("Makefile", None), ("", None)]
)
def test_the_extension_tells_the_language(path: str, language: str | None) -> None:
    assert language_of(path) == language
