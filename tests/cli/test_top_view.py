"""Bars, numbers and lines that fit."""

import io

import pytest
from rich.console import Console

from llama4coder.cli.kv_report import Place
from llama4coder.cli.top_sections import Item, Report, Row, Section, Unit
from llama4coder.cli.top_view import Screen, bar, told


def place(used: int, cached: int, free: int, promised: int, name: str = "replica") -> Place:
    return Place({"replica": name}, {"used": used, "cached": cached, "free": free}, {"promised": promised})


def lengths(of: Place, width: int) -> dict[str, int]:
    return {fill.name: length for fill, length in bar(of, width)}


def test_a_bar_is_as_long_as_it_may_be() -> None:
    assert lengths(place(25, 25, 50, 25), 40) == {"used": 10, "promised": 10, "cached": 10, "free": 10}
    assert lengths(place(0, 90, 10, 30), 10) == {"used": 0, "promised": 3, "cached": 7, "free": 0}, "free ones first"
    assert lengths(place(1, 1, 1, 0), 10) == {"used": 3, "promised": 0, "cached": 4, "free": 3}
    assert lengths(place(0, 0, 0, 0), 10) == {"used": 0, "promised": 0, "cached": 0, "free": 10}
    assert lengths(place(5, 0, 0, 99), 10) == {"used": 10, "promised": 0, "cached": 0, "free": 0}, "a torn page"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (12_345.6, Unit.COUNT, "12,346"),
        (0.04, Unit.PER_S, "0.0/s"),
        (12_345.6, Unit.PER_S, "12,346/s"),
        (0.123, Unit.SHARE, "12%"),
        (1.234, Unit.TIMES, "1.23x"),
        (0.0001234, Unit.SECONDS, "123 µs"),
        (0.01234, Unit.SECONDS, "12.3 ms"),
        (123.4, Unit.SECONDS, "123 s"),
    ],
)
def test_numbers(value: float, unit: Unit, text: str) -> None:
    assert told(Item("name", value, unit)) == text


def shown(report: Report, width: int, encoding: str = "utf-8") -> str:
    output = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=output, width=width, legacy_windows=False)
    console.print(Screen("heading", report, None))
    output.seek(0)
    return output.read()


def test_lines_break_between_items() -> None:
    items = tuple(Item(f"name_{number}", 100.0, Unit.COUNT) for number in range(20))
    text = shown(Report(("m",), 1, 1.0, (Section("routing", (Row("row", items),)),), ()), 60)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 60 and len(lines) > 5
    assert all(line.strip().endswith("100") for line in lines[1:])
    assert "name 7 100" in text


def test_many_replicas_and_a_plain_terminal() -> None:
    places = tuple(place(number, 0, 100 - number, 0, f"replica{number:02}") for number in range(20))
    text = shown(Report((), 20, 1.0, (), places), 80, "ascii")
    assert "replica1 ##" in text, "names are cut"
    assert text.count("used") == 8
    assert "19 used" in text and "11 used" not in text
    assert "and 12 more that are less full" in text
