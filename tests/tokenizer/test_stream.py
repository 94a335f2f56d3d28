"""Streaming text equals the whole text, for any tokens, any cutting into pushes and any stop strings."""

import codecs
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llama4coder.errors import InvalidRequest
from llama4coder.tokenizer.stream import TextStream
from llama4coder.tokenizer.tokenizer import Tokenizer

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
any_ids = st.lists(st.integers(0, 420), max_size=30)
byte_heavy_text = st.text(alphabet="héello (x):\n\t🦙世界", max_size=30)
stop_strings = st.lists(st.text(alphabet="helo (é🦙", min_size=1, max_size=4), max_size=4)


@dataclass(frozen=True)
class Outcome:
    text: str
    stopped: bool
    num_tokens: int


def stream_in(stream: TextStream, pushes: Sequence[Sequence[int]]) -> Outcome:
    text, num_tokens, stopped = "", 0, False
    for token_ids in pushes:
        delta = stream.push(token_ids)
        text, num_tokens, stopped = text + delta.text, num_tokens + delta.num_tokens, delta.stopped
        if stopped:
            break
    return Outcome(text + stream.finish(), stopped, num_tokens)


def naive(
    tokenizer: Tokenizer, ids: Sequence[int], stop: Sequence[str], include_stop: bool, min_tokens: int
) -> Outcome:
    """The reference: after each token look at the whole text, character by character."""
    seen = 0
    for num_tokens in range(1, len(ids) + 1):
        certain = certain_text(tokenizer, ids[:num_tokens])
        for end in range(seen + 1, len(certain) + 1):
            matches = [text for text in stop if certain[:end].endswith(text)]
            if matches and num_tokens >= min_tokens:
                cut = end if include_stop else end - max(map(len, matches))
                return Outcome(certain[:cut], True, num_tokens)
        seen = len(certain)
    return Outcome(tokenizer.decode(ids), False, len(ids))


def certain_text(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The text that no later token can change: an ASCII letter after it leaves it, half a character does not."""
    kept = [token_id for token_id in ids if tokenizer.has_text(token_id, skip_special=True)]
    data = b"".join(
        tokenizer.token_bytes(token_id) if index else tokenizer.first_token_bytes(token_id)
        for index, token_id in enumerate(kept)
    )
    return codecs.getincrementaldecoder("utf-8")("replace").decode(data)


def cut(ids: Sequence[int], places: Sequence[int]) -> list[Sequence[int]]:
    edges = [0, *sorted(place % (len(ids) + 1) for place in places), len(ids)]
    return [ids[start:end] for start, end in itertools.pairwise(edges)]


@relaxed
@given(ids=any_ids, places=st.lists(st.integers(0, 100), max_size=6))
def test_deltas_join_to_the_decoded_whole(tokenizer: Tokenizer, ids: list[int], places: list[int]) -> None:
    outcome = stream_in(TextStream(tokenizer), cut(ids, places))
    assert outcome == Outcome(tokenizer.decode(ids), False, len(ids))


@relaxed
@given(text=byte_heavy_text)
def test_no_delta_holds_part_of_a_character(tokenizer: Tokenizer, text: str) -> None:
    stream = TextStream(tokenizer)
    ids = tokenizer.encode(text, add_bos=False)
    deltas = [stream.push([token_id]).text for token_id in ids]
    assert not any("\ufffd" in delta for delta in deltas)
    assert stream.finish() == ""
    assert "".join(deltas) == text


@relaxed
@given(
    ids=any_ids,
    text=byte_heavy_text,
    places=st.lists(st.integers(0, 100), max_size=6),
    stop=stop_strings,
    include_stop=st.booleans(),
    min_tokens=st.integers(0, 8),
)
def test_stop_strings_equal_the_naive_reference(  # noqa: PLR0913 - one per strategy
    tokenizer: Tokenizer,
    ids: list[int],
    text: str,
    places: list[int],
    stop: list[str],
    include_stop: bool,
    min_tokens: int,
) -> None:
    ids = tokenizer.encode(text, add_bos=False) + ids
    stream = TextStream(tokenizer, stop, include_stop=include_stop, min_tokens=min_tokens)
    assert stream_in(stream, cut(ids, places)) == naive(tokenizer, ids, stop, include_stop, min_tokens)


def spell(tokenizer: Tokenizer, text: str) -> list[int]:
    """One token per byte-level character, so that everything happens across borders."""
    return [token_id for char in text for token_id in tokenizer.encode(char, add_bos=False)]


def test_tail_that_may_begin_a_stop_string_is_held_back(byte_level: Tokenizer) -> None:
    stream = TextStream(byte_level, ["END"])
    deltas = [stream.push([token_id]).text for token_id in spell(byte_level, "xENE")]
    assert deltas == ["x", "", "", "EN"]
    assert stream.finish() == "E"


def test_stop_string_across_pushes_ends_the_text_and_counts_its_tokens(byte_level: Tokenizer) -> None:
    stream = TextStream(byte_level, ["END"])
    assert stream.push(spell(byte_level, "abEN")).text == "ab"
    delta = stream.push(spell(byte_level, "Dxyz"))
    assert (delta.text, delta.stopped, delta.num_tokens) == ("", True, 1)
    assert stream.finish() == ""
    assert stream.push([5]).num_tokens == 0


def test_of_two_stop_strings_the_one_that_ends_first_wins_then_the_longer(byte_level: Tokenizer) -> None:
    assert stream_in(TextStream(byte_level, ["abcd", "bc"]), [spell(byte_level, "abcd")]).text == "a"
    assert stream_in(TextStream(byte_level, ["bc", "abc"]), [spell(byte_level, "xabc")]).text == "x"


def test_min_tokens_makes_early_stop_strings_ordinary_text(byte_level: Tokenizer) -> None:
    stream = TextStream(byte_level, ["b"], min_tokens=3)
    assert stream_in(stream, [spell(byte_level, "abcb")]) == Outcome("abc", True, 4)


def test_overlap_with_an_ignored_stop_string_still_matches(byte_level: Tokenizer) -> None:
    stream = TextStream(byte_level, ["aa"], min_tokens=3)
    assert stream_in(stream, [spell(byte_level, "aaa")]) == Outcome("a", True, 3)


def test_include_stop_keeps_the_stop_string_and_drops_what_follows_it(byte_level: Tokenizer) -> None:
    stream = TextStream(byte_level, ["b"], include_stop=True)
    assert stream_in(stream, [spell(byte_level, "abc")]) == Outcome("ab", True, 2)


def test_special_tokens_are_shown_only_on_request(byte_level: Tokenizer) -> None:
    ids = [*spell(byte_level, "a"), 2]
    assert stream_in(TextStream(byte_level), [ids]).text == "a"
    assert stream_in(TextStream(byte_level, shown_specials=None), [ids]).text == "a<|im_end|>"
    assert stream_in(TextStream(byte_level, ["<|im"], shown_specials=None), [ids]) == Outcome("a", True, 2)
    ids = [1, *ids]
    assert stream_in(TextStream(byte_level, shown_specials={2}), [ids]).text == "a<|im_end|>"


def test_half_a_character_at_the_end_becomes_a_replacement_character(byte_level: Tokenizer) -> None:
    half = byte_level.encode("🦙", add_bos=False)[:-1]
    stream = TextStream(byte_level)
    assert stream.push(half).text == ""
    assert stream.finish() == "\ufffd"
    assert stream.finish() == ""


def test_leading_space_is_kept_where_the_text_continues_a_prompt(sentencepiece: Tokenizer) -> None:
    ids = sentencepiece.encode("hello", add_bos=False)
    assert stream_in(TextStream(sentencepiece), [ids]).text == "hello"
    assert stream_in(TextStream(sentencepiece, continues_text=True), [ids]).text == " hello"


def test_empty_stop_string_is_refused(byte_level: Tokenizer) -> None:
    with pytest.raises(InvalidRequest, match="empty") as caught:
        TextStream(byte_level, ["a", ""])
    assert caught.value.param == "stop"


def test_cost_per_token_depends_neither_on_length_nor_on_the_number_of_stop_strings(byte_level: Tokenizer) -> None:
    num_tokens = 20_000
    stream = TextStream(byte_level, [f"stop string {index} ###" for index in range(64)])
    broken = byte_level.encode("é", add_bos=False)[:1] * num_tokens  # never a whole character
    started = time.perf_counter()
    for token_id in broken:
        stream.push([token_id])
    assert time.perf_counter() - started < 2.0  # quadratic work would take minutes
