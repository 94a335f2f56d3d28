"""Reading what is scored, and saying what is wrong with it."""

from pathlib import Path

import pytest

from llama4coder.errors import ConfigError
from llama4coder.perplexity.texts import read_text, windows_of
from llama4coder.tokenizer.tokenizer import Tokenizer
from tests.support.tiny import write_tiny_tokenizer

TEXT = "for index in range(10):\n    print(index)\n" * 10


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    write_tiny_tokenizer(tmp_path)
    return Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b" \n\t", "is empty"), (b"def \xff", "is not UTF-8 text: byte 4 is wrong")],
)
def test_texts_that_are_none(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "text.py").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_text(tmp_path / "text.py")


def test_missing_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*No such file"):
        read_text(tmp_path / "text.py")


def test_windows_leave_room_for_a_token(tokenizer: Tokenizer) -> None:
    windows = windows_of([TEXT, TEXT], tokenizer, 16, most_tokens=40)
    assert [len(window) for window in windows] == [15, 15, 10]
    assert windows[0] == tuple(tokenizer.encode(TEXT, add_bos=False)[:15])


def test_bos_where_the_model_is_used_to_it(tokenizer: Tokenizer) -> None:
    tokenizer.adds_bos = True
    windows = windows_of([TEXT], tokenizer, 16, most_tokens=28)
    assert [(window[0], len(window)) for window in windows] == [(tokenizer.bos_token_id, 15)] * 2


def test_text_that_looks_like_a_token_is_text(tokenizer: Tokenizer) -> None:
    windows = windows_of([TEXT + "<|im_end|>"], tokenizer, 16, most_tokens=10**6)
    assert not {token for window in windows for token in window} & tokenizer.eos_token_ids


@pytest.mark.parametrize(("text", "most_tokens"), [("x = 1\n", 1000), (TEXT, 14)])
def test_less_than_a_window(tokenizer: Tokenizer, text: str, most_tokens: int) -> None:
    with pytest.raises(ConfigError, match="less than a window of 16"):
        windows_of([text], tokenizer, 16, most_tokens)
    assert windows_of([TEXT], tokenizer, 16, 15)
