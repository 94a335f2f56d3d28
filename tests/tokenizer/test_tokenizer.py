"""Ids equal transformers', text equals the library's, and settings are read from wherever they stand."""

import json
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import decoders, models
from transformers import PreTrainedTokenizerFast

from llama4coder.errors import CheckpointError, InvalidRequest
from llama4coder.tokenizer.tokenizer import Tokenizer
from tests.support.tiny import write_tiny_tokenizer

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

TEXTS = [
    "def add(first, second):\n    return first + second\n",
    "x = 'naïve' # 世界 🦙\t\r\n",
    "<|im_start|>user\nhi<|im_end|>",
    "for i in range(10_000):\n\n\n        print(i)  ",
    "",
    "\x00\x7f\u200b",
]


@pytest.mark.parametrize("text", TEXTS)
def test_ids_equal_transformers(tiny_folder: Path, byte_level: Tokenizer, text: str) -> None:
    reference = PreTrainedTokenizerFast(tokenizer_file=str(tiny_folder / "tokenizer.json"))
    assert byte_level.encode(text, add_bos=False) == reference.encode(text, add_special_tokens=False)


@relaxed
@given(text=st.text(max_size=40))
def test_text_survives_encoding(byte_level: Tokenizer, text: str) -> None:
    ids = byte_level.encode(text, add_bos=False, parse_special=False)
    assert byte_level.decode(ids) == text


@relaxed
@given(ids=st.lists(st.integers(0, 420), max_size=30), skip_special=st.booleans())
def test_byte_level_text_equals_the_library(
    tiny_folder: Path, byte_level: Tokenizer, ids: list[int], skip_special: bool
) -> None:
    reference = FastTokenizer.from_file(str(tiny_folder / "tokenizer.json"))
    assert byte_level.decode(ids, skip_special=skip_special) == reference.decode(ids, skip_special_tokens=skip_special)


@relaxed
@given(text=st.text(alphabet="hello éx():\n🦙世", max_size=30))
def test_sentencepiece_text_equals_the_library(sentencepiece_folder: Path, sentencepiece: Tokenizer, text: str) -> None:
    reference = FastTokenizer.from_file(str(sentencepiece_folder / "tokenizer.json"))
    ids = sentencepiece.encode(text, add_bos=True)
    assert sentencepiece.decode(ids) == reference.decode(ids)


@relaxed
@given(ids=st.lists(st.integers(259, 275), max_size=10))
def test_metaspace_text_equals_the_library(metaspace: Tokenizer, ids: list[int]) -> None:
    pieces = [metaspace.token_bytes(token_id).decode().replace(" ", "▁") for token_id in ids]
    assert metaspace.decode(ids) == decoders.Metaspace().decode(pieces)


def test_special_text_is_a_token_only_when_parsed(byte_level: Tokenizer) -> None:
    assert byte_level.encode("<|im_end|>", add_bos=False) == [2]
    plain = byte_level.encode("<|im_end|>", add_bos=False, parse_special=False)
    assert 2 not in plain
    assert byte_level.decode(plain) == "<|im_end|>"


def test_threads_with_different_wishes_do_not_disturb_each_other(byte_level: Tokenizer) -> None:
    wrong: list[list[int]] = []

    def encode(parse_special: bool) -> None:
        for _ in range(300):
            ids = byte_level.encode("a<|im_end|>b", add_bos=False, parse_special=parse_special)
            if (2 in ids) != parse_special:
                wrong.append(ids)

    threads = [threading.Thread(target=encode, args=(index % 2 == 0,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_bos_is_added_on_request(sentencepiece: Tokenizer) -> None:
    assert sentencepiece.adds_bos
    with_bos = sentencepiece.encode("hello", add_bos=True)
    assert with_bos == [1, *sentencepiece.encode("hello", add_bos=False)]


def test_lone_surrogate_is_an_invalid_request_without_the_text(byte_level: Tokenizer) -> None:
    with pytest.raises(InvalidRequest, match="surrogate") as caught:
        byte_level.encode("secret \ud800", add_bos=False)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_token_text_of_half_a_character_is_a_replacement_character(byte_level: Tokenizer) -> None:
    half = byte_level.encode("🦙", add_bos=False)[0]
    assert byte_level.token_text(half) == "\ufffd"
    assert byte_level.token_bytes(half) == "🦙".encode()[:1]


@pytest.mark.parametrize("token_id", [-1, 400, 2**40])
def test_ids_without_a_token_have_no_text(byte_level: Tokenizer, token_id: int) -> None:
    assert byte_level.token_bytes(token_id) == b""
    assert byte_level.decode([token_id]) == ""


def test_vocab_size_is_one_past_the_highest_id(byte_level: Tokenizer) -> None:
    assert byte_level.vocab_size == 400
    assert byte_level.token_text(399) != ""


def write_json(folder: Path, name: str, **content: object) -> None:
    (folder / name).write_text(json.dumps(content), encoding="utf-8")


def test_eos_ids_are_the_union_of_all_files(tmp_path: Path) -> None:
    write_tiny_tokenizer(tmp_path)
    write_json(tmp_path, "config.json", eos_token_id=7)
    write_json(tmp_path, "generation_config.json", eos_token_id=[0, 9])
    assert Tokenizer.from_folder(tmp_path).eos_token_ids == {0, 2, 7, 9}


def test_bos_comes_from_config_only_if_tokenizer_config_is_silent(tmp_path: Path) -> None:
    write_tiny_tokenizer(tmp_path)
    write_json(tmp_path, "config.json", bos_token_id=0)
    write_json(tmp_path, "generation_config.json")
    write_json(tmp_path, "tokenizer_config.json", bos_token=None)
    assert Tokenizer.from_folder(tmp_path).bos_token_id is None
    write_json(tmp_path, "tokenizer_config.json")
    assert Tokenizer.from_folder(tmp_path).bos_token_id == 0


def test_tokenizer_json_alone_is_enough(tmp_path: Path) -> None:
    write_tiny_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "generation_config.json").unlink()
    tokenizer = Tokenizer.from_folder(tmp_path)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_ids, tokenizer.adds_bos) == (None, frozenset(), False)


def test_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is missing"):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize("content", ['{"a"', "[]", '{"decoder": {"type": "ByteLevel"}}', "\ud800"])
def test_damaged_tokenizer_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content.encode("utf-8", errors="surrogatepass"))
    with pytest.raises(CheckpointError, match=r"cannot read .*tokenizer\.json"):
        Tokenizer.from_folder(tmp_path)


def test_damaged_settings_are_named(tmp_path: Path) -> None:
    write_tiny_tokenizer(tmp_path)
    (tmp_path / "generation_config.json").write_text("nonsense", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"generation_config\.json"):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize("decoder", [None, decoders.WordPiece(), decoders.Strip(" ", 1, 0), decoders.CTC()])
def test_unknown_decoder_is_refused(tmp_path: Path, decoder: decoders.Decoder | None) -> None:
    fast = FastTokenizer(models.BPE({"a": 0}, []))
    if decoder is not None:
        fast.decoder = decoder
    fast.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(CheckpointError, match="decoder"):
        Tokenizer.from_folder(tmp_path)
