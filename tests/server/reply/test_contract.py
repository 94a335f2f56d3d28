"""What holds for every family's grammar, whatever a model writes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama4coder.server.reply.events import ToolCall
from llama4coder.server.reply.reply import ReplyFormat
from llama4coder.server.reply.thinking import ThinkMarks
from tests.server.reply.reading import FAMILIES, NAMES, Call, Family, calls_of, content_of, cut, read

THINK = ThinkMarks("<think>", "</think>")
PLACES = st.lists(st.integers(0, 10_000), max_size=12)
WORDS = ("Hello", " ", "\n", "é", "<", "a < b", "<think>", "</think>", "```json\n", "</think")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text() | st.sampled_from(["</tool_call>", "<tool_call>", "[ARGS]", "</function>", "'\"\\", "<|python_tag|>"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
KEYS = st.sampled_from(["path", "a", "b_2", "lines"])
TEXTS = st.text(st.characters(exclude_characters="<\r", exclude_categories=("Cs",)))

families = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())


def texts_of(family: Family) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from([*family.pieces, *WORDS]), max_size=10).map("".join)


def calls_in(family: Family) -> st.SearchStrategy[list[Call]]:
    values = TEXTS if family.only_texts else VALUES
    call = st.tuples(st.sampled_from(sorted(NAMES)), st.dictionaries(KEYS, values, max_size=3))
    return st.lists(call, min_size=1, max_size=3)


@families
@given(data=st.data(), places=PLACES, thinks=st.booleans(), is_thinking=st.booleans())
def test_how_a_text_is_cut_does_not_matter(
    family: Family, data: st.DataObject, places: list[int], thinks: bool, is_thinking: bool
) -> None:
    text = data.draw(texts_of(family))
    reply_format = ReplyFormat(family.grammar, THINK if thinks else None, is_thinking)
    whole = read(reply_format, [text])
    assert read(reply_format, cut(text, places)) == whole
    assert read(reply_format, list(text)) == whole


@families
@given(data=st.data())
def test_arguments_are_objects_and_whatever_is_no_call_is_content(family: Family, data: st.DataObject) -> None:
    text = data.draw(texts_of(family))
    events = read(ReplyFormat(family.grammar), [text])
    calls = [event for event in events if isinstance(event, ToolCall)]
    assert all(isinstance(json.loads(call.arguments), dict) and call.name for call in calls)
    if not calls:
        assert content_of(events) == text


@families
@given(data=st.data(), places=PLACES)
def test_calls_are_read_as_they_were_written(family: Family, data: st.DataObject, places: list[int]) -> None:
    calls = data.draw(calls_in(family))
    text = family.write(calls)
    events = read(ReplyFormat(family.grammar), cut(text, places))
    assert (calls_of(events), content_of(events)) == (calls, "")


@families
def test_text_around_calls_stays_content(family: Family) -> None:
    written = family.write([("f", {"a": "1"}), ("g", {})])
    events = read(ReplyFormat(family.grammar), [f"First I look.\n\n{written}\nThen on."])
    if family.needs_whole_answer:
        assert (calls_of(events), content_of(events)) == ([], f"First I look.\n\n{written}\nThen on.")
    else:
        assert calls_of(events) == [("f", {"a": "1"}), ("g", {})]
        assert content_of(events) == "First I look.\nThen on."


@families
def test_a_call_is_given_as_soon_as_it_is_certain(family: Family) -> None:
    parser = ReplyFormat(family.grammar).parser()
    events = parser.push(family.write([("f", {"a": "1"})]))
    given_before_the_end = [event for event in events if isinstance(event, ToolCall)]
    assert bool(given_before_the_end) == (not family.needs_whole_answer)
    assert len(given_before_the_end) + len(parser.finish()) == 1


@families
@given(places=PLACES)
def test_what_is_cut_off_is_content(family: Family, places: list[int]) -> None:
    text = family.write([("f", {"a": "one", "b_2": "two"})])
    for end in range(len(text)):
        events = read(ReplyFormat(family.grammar), cut(text[:end], places))
        whole = calls_of(events)
        assert whole in ([], [("f", {"a": "one", "b_2": "two"})])
        assert whole or content_of(events) == text[:end]


@families
def test_a_limit_cuts_the_calls_that_follow(family: Family) -> None:
    text = family.write([("f", {"a": "1"}), ("g", {}), ("f", {})])
    for limit in (1, 2):
        events = read(ReplyFormat(family.grammar, max_calls=limit), list(text))
        assert calls_of(events) == [("f", {"a": "1"}), ("g", {})][:limit]
        assert content_of(events) == ""


@families
def test_content_is_not_held_back(family: Family) -> None:
    parser = ReplyFormat(family.grammar).parser()
    assert content_of(parser.push("Hello you")) == "Hello you"
    assert content_of(parser.push(" there")) == " there"


@families
def test_an_empty_reply(family: Family) -> None:
    assert read(ReplyFormat(family.grammar), []) == read(ReplyFormat(family.grammar), ["", ""]) == []
