"""Finished blocks are printed once, the rest when the answer ends, and nothing steers the terminal."""

import io
import re

import pytest
from rich.console import Console

from llama4coder.cli.answer_view import AnswerView, finished_length, printable


@pytest.mark.parametrize(
    ("finished", "rest"),
    [
        ("", ""),
        ("", "one line"),
        ("", "one line\n"),
        ("one\n\n", "two"),
        ("one\n\ntwo\n\n", ""),
        ("one\n\n", "```python\nx = 1\n\ny = 2\n"),
        ("```\nx\n\ny\n```\n\n", "after"),
        ("", "~~~\n```\n\n"),
    ],
)
def test_finished_length(finished: str, rest: str) -> None:
    assert finished_length(finished + rest) == len(finished)


def test_control_characters_are_dropped() -> None:
    assert printable("a\x1b[2Jb\tc\nd\x07\x9b\r") == "a[2Jb\tc\nd"


def screen_after(output: str) -> str:
    """What a terminal shows after `output`, as far as cursor-up, erase-line and carriage return go."""
    lines, row = [""], 0
    for piece in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", output):
        if piece == "\n":
            row += 1
            lines.extend([""] * (row + 1 - len(lines)))
        elif piece.endswith("A") and piece[0] == "\x1b":
            row -= int(piece[2:-1])
        elif piece == "\x1b[2K":
            lines[row] = ""
        elif piece[0] not in "\x1b\r":
            lines[row] += piece
    return "\n".join(lines)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_everything_is_shown_exactly_once_in_the_end(is_terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=is_terminal, color_system=None, width=60, height=20)
    text = "First.\n\n```python\nx = 1\n\ny = 2\n```\n\n" + "\n".join(f"- line {n}" for n in range(50))
    with AnswerView(console) as view:
        for start in range(0, len(text), 7):
            view.add(text[start : start + 7])
    assert isinstance(console.file, io.StringIO)
    shown = screen_after(console.file.getvalue())
    for expected in ("First.", "x = 1", "y = 2", "line 0 ", "line 49"):
        assert shown.count(expected) == 1
    assert "```" not in shown


def test_an_unfinished_block_is_shown_while_it_grows() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=60, height=20)
    assert isinstance(console.file, io.StringIO)
    with AnswerView(console) as view:
        view.add("Half a")
        view.add(" sentence")
        assert screen_after(console.file.getvalue()).strip() == "Half a sentence"


def test_reasoning_is_dimmed_and_comes_first() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=60, height=20)
    assert isinstance(console.file, io.StringIO)
    with AnswerView(console) as view:
        for part in ("I ad", "d.\nTw", "o \x1b[2Jlines", ""):
            view.think(part)
        view.add("")
        assert screen_after(console.file.getvalue()).split("\n")[:2] == ["I add.", "Two [2Jlines"]
        view.add("It is 3.")
    shown = screen_after(console.file.getvalue())
    assert [line.strip() for line in shown.strip().split("\n")] == ["I add.", "Two [2Jlines", "", "It is 3."]
    assert "\x1b[2mI add." in console.file.getvalue()
    assert "\x1b[2mIt is" not in console.file.getvalue()


def test_reasoning_that_was_interrupted_stays() -> None:
    console = Console(file=io.StringIO(), width=60, record=True)
    with AnswerView(console) as view:
        view.think("half a thou")
    assert "half a thou" in console.export_text()


def test_what_had_arrived_stays_after_an_interruption() -> None:
    console = Console(file=io.StringIO(), width=60, record=True)
    with pytest.raises(KeyboardInterrupt), AnswerView(console) as view:
        view.add("half an ans")
        raise KeyboardInterrupt
    assert "half an ans" in console.export_text()
