"""A draft model is taken if its ids are the target's, and refused with the reason if not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llama4coder.errors import ConfigError
from llama4coder.spec.compatibility import check_same_tokens
from llama4coder.tokenizer.tokenizer import Tokenizer
from tests.support.tiny import VOCAB_SIZE, write_tiny_tokenizer


@pytest.fixture
def target(tmp_path: Path) -> Tokenizer:
    write_tiny_tokenizer(tmp_path / "target")
    return Tokenizer.from_folder(tmp_path / "target")


def changed(folder: Path, change: Callable[[Any], object]) -> Tokenizer:
    """The same tokenizer, but for what `change` does to its tokenizer.json."""
    write_tiny_tokenizer(folder)
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    return Tokenizer.from_folder(folder)


def test_the_same_tokens_are_taken(tmp_path: Path, target: Tokenizer) -> None:
    check_same_tokens(target, changed(tmp_path / "draft", lambda content: None))


def test_merges_do_not_matter(tmp_path: Path, target: Tokenizer) -> None:
    check_same_tokens(target, changed(tmp_path / "draft", lambda content: content["model"]["merges"].reverse()))


def swap_two(content: Any) -> None:
    vocab = content["model"]["vocab"]
    first, second = (next(piece for piece, token_id in vocab.items() if token_id == wanted) for wanted in (300, 301))
    vocab[first], vocab[second] = vocab[second], vocab[first]


def add_token(content: Any) -> None:
    content["added_tokens"].append({**content["added_tokens"][0], "id": VOCAB_SIZE, "content": "<|fim|>"})


def make_ordinary(content: Any) -> None:
    content["added_tokens"][0]["special"] = False


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (swap_two, rf"2 of {VOCAB_SIZE} ids differ \(300 is '.+' for the target and '.+' for the draft; 301 is"),
        (add_token, rf"1 of {VOCAB_SIZE + 1} ids differ \({VOCAB_SIZE} is no token for the target and '<\|fim\|>'"),
        (make_ordinary, r"\(0 is '<\|endoftext\|>' \(special\) for the target and '<\|endoftext\|>' for the draft\)"),
    ],
)
def test_other_tokens_are_refused(
    tmp_path: Path, target: Tokenizer, change: Callable[[Any], object], reason: str
) -> None:
    draft = changed(tmp_path / "draft", change)
    with pytest.raises(ConfigError, match=reason + r".*set speculation\.draft\.path"):
        check_same_tokens(target, draft)


def test_many_differences_are_counted_and_a_few_are_shown(tmp_path: Path, target: Tokenizer) -> None:
    def drop(content: Any) -> None:
        model = content["model"]
        model["vocab"] = {piece: token_id for piece, token_id in model["vocab"].items() if token_id < 300}
        model["merges"] = [merge for merge in model["merges"] if "".join(merge) in model["vocab"]]

    with pytest.raises(ConfigError, match=r"100 of 400 ids differ \(300 .*; 301 .*; 302 .*; \.\.\.\)"):
        check_same_tokens(target, changed(tmp_path / "draft", drop))
