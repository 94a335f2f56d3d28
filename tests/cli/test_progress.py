"""Bars for people, lines for logs."""

import re
from io import StringIO

import pytest
from rich.console import Console

from llama4coder.cli.progress import RichProgress
from llama4coder.progress import Progress


def shown(*, terminal: bool, unit: str) -> str:
    output = StringIO()
    progress: Progress = RichProgress(Console(file=output, force_terminal=terminal, width=100))
    progress.start("converting", 2_000_000, unit)
    progress.advance(500_000)
    progress.advance(1_500_000)
    progress.finish()
    progress.finish()
    return output.getvalue()


@pytest.mark.parametrize(("unit", "expected"), [("B", "2.0/2.0 MB"), ("tokens", "2000000/2000000")])
def test_terminal_gets_a_bar(unit: str, expected: str) -> None:
    text = shown(terminal=True, unit=unit)
    assert "converting" in text
    assert expected in text


def test_log_gets_one_line_at_the_start_and_one_at_the_end() -> None:
    lines = shown(terminal=False, unit="B").splitlines()
    assert lines[0] == "converting ..."
    assert re.fullmatch(r"converting: \d\.\d s, 0\.00 GB at \d+\.\d\d GB/s", lines[1])
    assert len(lines) == 2
    assert shown(terminal=False, unit="tokens").splitlines()[1].endswith(" s")
