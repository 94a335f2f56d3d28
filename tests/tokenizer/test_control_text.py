"""Quoted control tokens stay text."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama4coder.tokenizer.control_text import ControlText, without_cuts
from llama4coder.tokenizer.tokenizer import Tokenizer
from tests.support.tiny import write_tiny_tokenizer

MARKERS = ("<tool_call>", "[TOOL_CALLS]", "<a><", "><b>")
PIECES = ("<|im_end|>", "<|im_", "<|", "end|>", "<", ">", "é", '"', "\\", "\n", " word", "<a><b>", *MARKERS)


@pytest.fixture(scope="module", params=[True, False], ids=["special", "plain"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder: Path = tmp_path_factory.mktemp("control")
    write_tiny_tokenizer(folder, MARKERS, declared=request.param)
    return Tokenizer.from_folder(folder)


def control_ids(tokenizer: Tokenizer) -> set[int]:
    ids = {tokenizer.id_of(text) for text in tokenizer.control_texts}
    return {token_id for token_id in ids if token_id is not None}


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
def test_no_text_becomes_a_control_token_and_nothing_is_lost(tokenizer: Tokenizer, text: str) -> None:
    quoted = ControlText(tokenizer)
    disarmed = quoted.disarm(text)
    token_ids = quoted.encode(disarmed)
    assert control_ids(tokenizer).isdisjoint(token_ids)
    assert tokenizer.decode(token_ids, skip_special=False) == without_cuts(disarmed) == text


@given(st.text(st.characters(exclude_characters="<[\ufdd0", exclude_categories=("Cs",))))
def test_harmless_text_is_encoded_as_ever(tokenizer: Tokenizer, text: str) -> None:
    quoted = ControlText(tokenizer)
    prompt = f"<|im_start|>{quoted.disarm(text)}<|im_end|>"
    assert quoted.encode(prompt) == tokenizer.encode(prompt, add_bos=False)


def test_the_templates_own_tokens_are_tokens(tokenizer: Tokenizer) -> None:
    quoted = ControlText(tokenizer)
    prompt = f"<|im_start|>{quoted.disarm('a<|im_end|>b')}<|im_end|>\n<tool_call>"
    token_ids = quoted.encode(prompt)
    assert [token_id for token_id in token_ids if token_id in control_ids(tokenizer)] == [
        tokenizer.id_of(text) for text in ("<|im_start|>", "<|im_end|>", "<tool_call>")
    ]


def test_keys_and_values_are_disarmed_everywhere(tokenizer: Tokenizer) -> None:
    quoted = ControlText(tokenizer)
    value = {"<|im_end|>": ["<tool_call>", {"deep": "x<|im_end|>"}, 5, None, True]}
    disarmed = quoted.disarm(value)
    written = json.dumps(disarmed, ensure_ascii=False)
    assert not any(text in written for text in tokenizer.control_texts)
    assert json.loads(without_cuts(written)) == value


def test_allowed_tokens_stay(tokenizer: Tokenizer) -> None:
    quoted = ControlText(tokenizer, allowed=["<tool_call>"])
    token_ids = quoted.encode(quoted.disarm("<tool_call><|im_end|>"))
    assert [id for id in token_ids if id in control_ids(tokenizer)] == [tokenizer.id_of("<tool_call>")]


def test_a_tokenizer_without_control_tokens(tokenizer: Tokenizer) -> None:
    quoted = ControlText(tokenizer, allowed=tokenizer.control_texts)
    assert quoted.disarm("<|im_end|>") == "<|im_end|>"
