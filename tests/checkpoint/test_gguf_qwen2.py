"""Qwen2 from GGUF: biases, rotation, its tokenizer to the letter, the tokens that end a text."""

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import dequantize
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from llama4coder.checkpoint.gguf import convert_gguf
from llama4coder.errors import CheckpointError
from llama4coder.progress import NullProgress
from llama4coder.tokenizer.tokenizer import Tokenizer
from tests.support.engines import resolved
from tests.support.logits import NUM_BLOCKS, logits_in_chunks
from tests.support.tiny_gguf import Quantised, TinyGguf, random_qwen2, tiny_gguf_of
from tests.support.tiny_qwen2 import CONTROL, TinyVocabulary

TRICKY = [
    "def add(first, second):\n    return first + second\n",
    "class Point:\n\tdef __init__(self, x, y):\n\t\tself.x = x  \n\n\n\n        pass",
    "I'll DON'T we'Ve it's 'tis y'all",
    "0 12 345 67890 3.14159e-10 ١٢٣ ½ 0xFF",
    "世界\uff0c你好。naïve Ωμέγα 🦙👩‍💻 \u00a0x\u3000y",
    "e\u0301 cafe\u0301 \u1100\u1161 \ufb01",  # not in Unicode's composed form
    "a  b   c    d     \t \n \r\n\r\n   \n",
    "   leading",
    "trailing   ",
    "\n",
    "",
    "#include<stdio.h>//!!!\n?>;};\n\n",
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
    "<|fim_prefix|>def f(<|fim_suffix|>\n<|fim_middle|>",
    '<tool_call>\n{"name": "f"}\n</tool_call><|endoftext|>',
    "<|im_start <|im_end|>> [PAD0] <tool_call",
    "\x00\x7f\ufeff\u200b",
]


@pytest.fixture(scope="module")
def vocabulary() -> TinyVocabulary:
    return TinyVocabulary()


@pytest.fixture
def tiny(vocabulary: TinyVocabulary) -> TinyGguf:
    return tiny_qwen2(vocabulary, tied=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, vocabulary: TinyVocabulary) -> Path:
    return converted(tiny_qwen2(vocabulary, tied=True), tmp_path_factory.mktemp("tiny"))


def tiny_qwen2(vocabulary: TinyVocabulary, *, tied: bool) -> TinyGguf:
    made = tiny_gguf_of(random_qwen2(vocabulary.size, tied=tied))
    vocabulary.put_into(made)
    return made


def converted(tiny: TinyGguf, folder: Path) -> Path:
    convert_gguf(tiny.write(folder / "tiny.gguf"), folder / "out", NullProgress())
    return folder / "out"


def generation_config(folder: Path) -> dict[str, object]:
    config: dict[str, object] = json.loads((folder / "generation_config.json").read_text())
    return config


@pytest.mark.parametrize("tied", [True, False])
def test_converted_model_gives_the_original_logits(tmp_path: Path, vocabulary: TinyVocabulary, tied: bool) -> None:
    original = random_qwen2(vocabulary.size, tied=tied)
    folder = converted(tiny_qwen2(vocabulary, tied=tied), tmp_path)
    ids = [number * 7 % vocabulary.size for number in range(100)]
    with torch.inference_mode():
        expected = original(torch.tensor([ids])).logits[0]
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(torch.tensor([ids])).logits[0]
    torch.testing.assert_close(theirs, expected, rtol=0, atol=1e-5)
    ours = logits_in_chunks(resolved(folder, num_blocks=NUM_BLOCKS, context_length=128), ids, [60, 39, 1])
    torch.testing.assert_close(ours, expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", ["attn_q", "attn_k", "attn_v"])
def test_missing_bias_is_named(tmp_path: Path, tiny: TinyGguf, name: str) -> None:
    del tiny.tensors[f"blk.1.{name}.bias"]
    with pytest.raises(CheckpointError, match=rf"blk\.1\.{name}\.bias is missing"):
        converted(tiny, tmp_path)


def test_bias_of_llama_is_refused(tmp_path: Path, tiny: TinyGguf) -> None:
    tiny.architecture = "llama"
    with pytest.raises(CheckpointError, match=r"attn_k\.bias, which the conversion does not support"):
        converted(tiny, tmp_path)


@pytest.mark.parametrize("kind", [gguf.GGMLQuantizationType.Q4_K, gguf.GGMLQuantizationType.Q6_K])
def test_k_quants_are_unpacked(tmp_path: Path, tiny: TinyGguf, kind: gguf.GGMLQuantizationType) -> None:
    name = "blk.0.ffn_down"
    _, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    data = np.random.default_rng(0).integers(0, 60, (32, block_bytes), dtype=np.uint8)  # so small that all are finite
    tiny.quantised[f"{name}.weight"] = Quantised(data, kind)
    with safe_open(converted(tiny, tmp_path) / "model.safetensors", framework="pt") as file:
        actual = file.get_tensor("model.layers.0.mlp.down_proj.weight")
    assert torch.equal(actual, torch.from_numpy(dequantize(data, kind)).to(torch.bfloat16))
    assert actual.unique().numel() > 100


@pytest.mark.parametrize("text", TRICKY)
def test_tokenizer_equals_that_of_transformers(folder: Path, vocabulary: TinyVocabulary, text: str) -> None:
    tokenizer, reference = Tokenizer.from_folder(folder), vocabulary.reference()
    expected = reference.encode(text, add_special_tokens=False)
    assert tokenizer.encode(text, add_bos=False) == expected
    assert AutoTokenizer.from_pretrained(folder).encode(text, add_special_tokens=False) == expected
    for skip_special in (True, False):
        decoded = reference.decode(expected, skip_special_tokens=skip_special, clean_up_tokenization_spaces=False)
        assert tokenizer.decode(expected, skip_special=skip_special) == decoded


def test_special_tokens_keep_their_kind(folder: Path, vocabulary: TinyVocabulary) -> None:
    tokenizer = Tokenizer.from_folder(folder)
    for token, token_id in vocabulary.special_ids.items():
        assert tokenizer.encode(token, add_bos=False) == [token_id]
        assert tokenizer.has_text(token_id, skip_special=True) is (token not in CONTROL)
    assert vocabulary.special_ids["<|fim_prefix|>"] not in tokenizer.encode(
        "<|fim_prefix|>", add_bos=False, parse_special=False
    )


def test_unused_tokens_have_no_text(folder: Path, vocabulary: TinyVocabulary) -> None:
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.vocab_size == vocabulary.size - 2
    assert tokenizer.decode([vocabulary.size - 1]) == ""
    assert json.loads((folder / "config.json").read_text())["vocab_size"] == vocabulary.size


def test_text_ends_by_either_end_token(folder: Path, vocabulary: TinyVocabulary) -> None:
    ends = [vocabulary.special_ids["<|im_end|>"], vocabulary.special_ids["<|endoftext|>"]]
    assert generation_config(folder)["eos_token_id"] == ends  # the file's own first
    assert Tokenizer.from_folder(folder).eos_token_ids == frozenset(ends)


def test_end_of_turn_that_the_file_names_ends_a_text(tmp_path: Path, tiny: TinyGguf) -> None:
    tiny.settings["tokenizer.ggml.eot_token_id"] = 7
    assert 7 in Tokenizer.from_folder(converted(tiny, tmp_path)).eos_token_ids


def test_ordinary_token_of_that_name_ends_nothing(tmp_path: Path, tiny: TinyGguf, vocabulary: TinyVocabulary) -> None:
    end = vocabulary.special_ids["<|endoftext|>"]
    tiny.kinds[end] = 1
    assert generation_config(converted(tiny, tmp_path))["eos_token_id"] == tiny.eos
