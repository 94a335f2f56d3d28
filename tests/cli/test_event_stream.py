"""Events come out whole, however the bytes were cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama4coder.cli.event_stream import EventParser

STREAM = (
    ': hello\r\n\ndata: {"a": 1}\r\n\r\nevent: x\ndata: é\u2028ö\n\n: keep-alive\n\ndata:one\ndata: two\n\n'.encode()
)
EVENTS = [b'{"a": 1}', "é\u2028ö".encode(), b"one\ntwo"]


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_events_do_not_depend_on_how_bytes_are_cut(cuts: list[int]) -> None:
    parser = EventParser()
    edges = [0, *sorted(cuts), len(STREAM)]
    events = [data for start, end in pairwise(edges) for data in parser.push(STREAM[start:end])]
    assert events == EVENTS


@pytest.mark.parametrize("unfinished", [b"", b"data: x", b"data: x\n", b": comment\n\n", b"\n\n\n"])
def test_no_event_before_its_empty_line(unfinished: bytes) -> None:
    assert EventParser().push(unfinished) == []
