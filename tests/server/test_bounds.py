"""An answer ends before a line with too little indentation and when its time is over, however it is cut into pushes."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama4coder.server.bounds import BoundedStream, TextBounds


def run(text: str, bounds: TextBounds, size: int) -> str:
    stream = BoundedStream(bounds)
    parts = [text[start : start + size] for start in range(0, len(text), size)] or [""]
    kept = ""
    for number, part in enumerate(parts, start=1):
        given = stream.push(part, is_last=number == len(parts))
        kept += given.text
        if given.ended:
            return kept
    raise AssertionError("the last push must end it")


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("x = 1\n    y\n    z", "x = 1\n    y\n    z"),
        ("x = 1\n    y\ndef f():", "x = 1\n    y"),
        ("x = 1\n\n\n   y", "x = 1"),
        ("x = 1\n\n    y\n", "x = 1\n\n    y\n"),
        ("x\n   ", "x\n   "),
        ("", ""),
    ],
)
def test_a_line_with_too_little_indentation_ends_it(text: str, kept: str, size: int) -> None:
    assert run(text, TextBounds(min_indent=4), size) == kept


@given(text=st.text(alphabet="x \n\t", max_size=40), min_indent=st.integers(0, 4), size=st.integers(1, 10))
def test_the_cut_into_pushes_does_not_matter(text: str, min_indent: int, size: int) -> None:
    bounds = TextBounds(min_indent)
    kept = run(text, bounds, size)
    assert kept == run(text, bounds, 100)
    assert text.startswith(kept) and (min_indent or kept == text)


def test_time_ends_it_after_a_whole_line() -> None:
    """llama.vim's users wait for a line, not for half of one."""
    clock = itertools.count()  # one second per look
    stream = BoundedStream(TextBounds(max_time_s=2.5), lambda: float(next(clock)))
    pushes = [stream.push(text, is_last=False) for text in ("a", "b", "c", "d", "e\n")]
    assert [push.ended for push in pushes] == [False, False, False, False, True]
    assert "".join(push.text for push in pushes) == "abcde\n"


def test_time_that_is_left_ends_nothing() -> None:
    stream = BoundedStream(TextBounds(max_time_s=60))
    assert not any(stream.push("x\n", is_last=False).ended for _ in range(5))
