"""The size budget and the other habits hold, and their checkers see a breach."""

import pytest

from tests.arch import style
from tests.arch.source import SourceFile, read_sources

SOURCES = list(read_sources("llama4coder", "cluster", "dashboards", "scripts", "tests").values())


def test_files_and_functions_are_within_the_budget() -> None:
    assert style.oversized(SOURCES) == []


def test_one_module_reads_the_environment() -> None:
    assert style.environment_readers(SOURCES) == []


def test_only_the_command_line_prints() -> None:
    assert style.printers(SOURCES) == []


def test_what_holds_content_does_not_show_it() -> None:
    assert style.tellers(source for source in SOURCES if source.module.startswith(("llama4coder", "cluster"))) == []


@pytest.mark.parametrize("field", ["text: str | None", "new_token_ids: tuple[int, ...] = ()", "stop: tuple[str, ...]"])
def test_what_shows_content_is_seen(field: str) -> None:
    body = f"class A:\n    {field}\n"
    assert style.tellers([SourceFile("a", f"@dataclass(frozen=True)\n{body}")]) == ["a:2 A shows content"]
    assert style.tellers([SourceFile("a", f"@dataclass(frozen=True, repr=False)\n{body}")]) == []
    assert style.tellers([SourceFile("a", body)]) == []


def test_long_file_is_seen() -> None:
    assert style.oversized([SourceFile("a", "x = 1\n" * 400)]) == []
    assert style.oversized([SourceFile("a", "x = 1\n" * 401)]) == ["a has 401 lines"]


@pytest.mark.parametrize("keyword", ["def", "async def"])
def test_long_function_is_seen(keyword: str) -> None:
    assert style.oversized([SourceFile("a", f"{keyword} f():\n" + "    x = 1\n" * 59)]) == []
    assert style.oversized([SourceFile("a", f"{keyword} f():\n" + "    x = 1\n" * 60)]) == ["a:1 f has 61 lines"]


@pytest.mark.parametrize(
    "line",
    ["import os; os.environ['A']", "import os; os.getenv('A')", "from os import environ", "from os import getenv"],
)
def test_environment_reader_is_seen(line: str) -> None:
    assert style.environment_readers([SourceFile("llama4coder.kv.sizing", line)]) != []
    assert style.environment_readers([SourceFile("llama4coder.env", line)]) == []


def test_printer_is_seen() -> None:
    assert style.printers([SourceFile("llama4coder.kv.sizing", "print(1)")]) == ["llama4coder.kv.sizing:1 prints"]
    assert style.printers([SourceFile("llama4coder.cli.chat", "print(1)")]) == []
