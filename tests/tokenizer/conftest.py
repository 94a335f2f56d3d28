"""Tokenizers of the two kinds that Llama-family models have, made on the spot."""

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, decoders, models, normalizers
from tokenizers import Tokenizer as FastTokenizer

from llama4coder.tokenizer.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def byte_level(tiny_folder: Path) -> Tokenizer:
    return Tokenizer.from_folder(tiny_folder)


@pytest.fixture(scope="session")
def sentencepiece_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like Llama 2: `▁` for a space, `<0x0A>` for bytes outside the vocabulary, a leading space dropped."""
    folder = tmp_path_factory.mktemp("sentencepiece")
    write_sentencepiece(folder, llama_decoder())
    return folder


@pytest.fixture(scope="session")
def sentencepiece(sentencepiece_folder: Path) -> Tokenizer:
    return Tokenizer.from_folder(sentencepiece_folder)


@pytest.fixture(scope="session")
def metaspace(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Like older conversions: the Metaspace decoder, no bytes."""
    folder = tmp_path_factory.mktemp("metaspace")
    write_sentencepiece(folder, decoders.Metaspace())
    return Tokenizer.from_folder(folder)


@pytest.fixture(scope="session", params=["byte_level", "sentencepiece"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """Each kind that can spell every text."""
    made: Tokenizer = request.getfixturevalue(request.param)
    return made


def llama_decoder() -> decoders.Decoder:
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    return decoders.Sequence(steps)


def write_sentencepiece(folder: Path, decoder: decoders.Decoder) -> None:
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", "▁▁", "▁▁▁▁", "h", "e", "l", "o", "he", "ll", "hell", "hello", "▁hello", "é", "(", ")", ":", "x"]
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("▁", "hello"), ("▁", "▁"), ("▁▁", "▁▁")]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = FastTokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoder
    tokenizer.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in pieces[:3]])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"add_bos_token": True, "bos_token": {"content": "<s>"}, "eos_token": {"content": "</s>"}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
