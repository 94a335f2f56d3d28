"""A converted model computes what the original does; a file that cannot be converted is refused in clear words."""

import json
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import quantize
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from llama4coder.checkpoint.gguf import convert_gguf
from llama4coder.checkpoint.manifest import is_intact
from llama4coder.errors import CheckpointError
from llama4coder.progress import NullProgress
from llama4coder.tokenizer.chat_template import ChatTemplate
from llama4coder.tokenizer.tokenizer import Tokenizer
from tests.support.progress import CountingProgress
from tests.support.tiny_gguf import TinyGguf, random_llama, tiny_gguf_of


def converted(tiny: TinyGguf, folder: Path) -> Path:
    target = folder / "models" / "tiny"
    convert_gguf(tiny.write(folder / "tiny.gguf"), target, NullProgress())
    return target


def refusal(tiny: TinyGguf, folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        converted(tiny, folder)
    assert not (folder / "models").exists() or list((folder / "models").iterdir()) == []
    return str(caught.value)


@pytest.mark.parametrize("tied", [True, False])
def test_converted_model_gives_the_original_logits(tmp_path: Path, tied: bool) -> None:
    original = random_llama(tied=tied)
    folder = converted(tiny_gguf_of(original), tmp_path)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.arange(40)[None] * 6
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, original(ids).logits, rtol=0, atol=1e-5)
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is tied


def test_weights_are_bfloat16_under_hugging_face_names(tmp_path: Path, llama: LlamaForCausalLM, tiny: TinyGguf) -> None:
    folder = converted(tiny, tmp_path)
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        assert set(file.keys()) == {name for name, _ in llama.named_parameters()}
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.bfloat16}


def test_quantised_weights_are_those_of_the_library(tmp_path: Path, tiny: TinyGguf) -> None:
    values = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    tiny.tensors["blk.0.attn_output.weight"] = gguf.quants.dequantize(
        quantize(values, gguf.GGMLQuantizationType.Q4_1), gguf.GGMLQuantizationType.Q4_1
    )
    expected = torch.from_numpy(tiny.tensors["blk.0.attn_output.weight"]).to(torch.bfloat16)
    folder = converted(tiny, tmp_path)
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        assert torch.equal(file.get_tensor("model.layers.0.self_attn.o_proj.weight"), expected)


def test_config_has_the_settings_of_the_file(tmp_path: Path, tiny: TinyGguf) -> None:
    config = json.loads((converted(tiny, tmp_path) / "config.json").read_text())
    expected = {
        "model_type": "llama",
        "head_dim": 8,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-05,
        "rope_parameters": {"rope_theta": 5000.0, "rope_type": "default"},
        "max_position_embeddings": 128,
        "vocab_size": 260,
        "eos_token_id": 0,
    }
    assert config.items() >= expected.items()


def test_tokenizer_reads_back(tmp_path: Path, tiny: TinyGguf) -> None:
    folder = converted(tiny, tmp_path)
    tokenizer = Tokenizer.from_folder(folder)
    text = "hello 2024 <|user|>"
    ids = tokenizer.encode(text, add_bos=False)
    assert tokenizer.decode(ids) == text  # user-defined tokens are text, control tokens are not
    assert 1 in ids
    assert (tokenizer.bos_token_id, tokenizer.eos_token_ids, tokenizer.adds_bos) == (0, frozenset({0}), False)
    assert AutoTokenizer.from_pretrained(folder).encode(text, add_special_tokens=False) == ids
    template = ChatTemplate.from_folder(folder)
    assert template is not None
    assert template.render([{"content": "hi"}]) == "hi"


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe"])
def test_digits_are_split_as_the_pre_tokenizer_says(tmp_path: Path, tiny: TinyGguf, pre: str) -> None:
    tiny.pre = pre
    tiny.tokens[-2:] = ["12", "1234"]
    tiny.merges = ["1 2"]  # 1234 is out of reach of the merges, and only llama-bpe looks up whole words
    tokenizer = Tokenizer.from_folder(converted(tiny, tmp_path))
    pieces = [tokenizer.token_text(token_id) for token_id in tokenizer.encode("1212", add_bos=False)]
    assert pieces == {"gpt-2": ["12", "12"], "smollm": ["1", "2", "1", "2"], "llama-bpe": ["12", "1", "2"]}[pre]


def test_model_that_wants_a_bos_gets_one(tmp_path: Path, tiny: TinyGguf) -> None:
    tiny.add_bos = True
    folder = converted(tiny, tmp_path)
    assert Tokenizer.from_folder(folder).adds_bos
    assert AutoTokenizer.from_pretrained(folder).encode("he")[0] == 0


def test_progress_counts_the_bytes_written(tmp_path: Path, tiny: TinyGguf, progress: CountingProgress) -> None:
    convert_gguf(tiny.write(tmp_path / "tiny.gguf"), tmp_path / "out", progress)
    num_values = sum(values.size for values in tiny.tensors.values())
    assert (progress.unit, progress.total, progress.done) == ("B", 2 * num_values, 2 * num_values)
    assert progress.finished


def test_other_architecture_is_named(tmp_path: Path, tiny: TinyGguf) -> None:
    tiny.architecture = "mamba"
    assert "architecture mamba" in refusal(tiny, tmp_path)


@pytest.mark.parametrize(("model", "pre", "named"), [("bert", "default", "kind bert"), ("gpt2", "exotic", "exotic")])
def test_other_tokenizer_is_named(tmp_path: Path, tiny: TinyGguf, model: str, pre: str, named: str) -> None:
    tiny.model, tiny.pre = model, pre
    assert named in refusal(tiny, tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("llama.expert_count", 8, "mixture of experts"),
        ("llama.rope.dimension_count", 4, "part of each head"),
        ("split.count", 3, "merge its parts"),
    ],
)
def test_variant_that_would_come_out_wrong_is_refused(
    tmp_path: Path, tiny: TinyGguf, key: str, value: int, named: str
) -> None:
    tiny.settings[key] = value
    assert named in refusal(tiny, tmp_path)


def test_unknown_tensor_is_refused(tmp_path: Path, tiny: TinyGguf) -> None:
    tiny.tensors["rope_factors_long.weight"] = np.ones(4, np.float32)
    assert "rope_factors_long.weight" in refusal(tiny, tmp_path)


def test_missing_tensor_is_named(tmp_path: Path, tiny: TinyGguf) -> None:
    del tiny.tensors["blk.1.ffn_up.weight"]
    assert "blk.1.ffn_up.weight is missing" in refusal(tiny, tmp_path)


def test_tensor_of_another_shape_is_named(tmp_path: Path, tiny: TinyGguf) -> None:
    tiny.tensors["blk.1.attn_k.weight"] = np.zeros((8, 32), np.float32)
    assert "blk.1.attn_k.weight has the shape (8, 32)" in refusal(tiny, tmp_path)


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path, tiny: TinyGguf) -> None:
    tiny.tensors["output_norm.weight"] = np.full(32, np.nan, np.float32)
    assert "not finite" in refusal(tiny, tmp_path)


def test_vocabulary_that_holds_a_token_twice_is_refused(tmp_path: Path, tiny: TinyGguf) -> None:
    tiny.tokens[5] = tiny.tokens[6]
    assert "twice" in refusal(tiny, tmp_path)


@pytest.mark.parametrize("merge", ["h", "h zz"])
def test_bad_merge_is_refused(tmp_path: Path, tiny: TinyGguf, merge: str) -> None:
    tiny.merges = [merge]
    assert "damaged" in refusal(tiny, tmp_path)


@pytest.mark.parametrize("fraction", [0.0, 0.0001, 0.01, 0.1, 0.3, 0.5, 0.999])
def test_truncated_file_says_what_to_do(tmp_path: Path, tiny: TinyGguf, fraction: float) -> None:
    path = tiny.write(tmp_path / "tiny.gguf")
    os.truncate(path, int(path.stat().st_size * fraction))
    with pytest.raises(CheckpointError, match=r"damaged.*get the file again"):
        convert_gguf(path, tmp_path / "out", NullProgress())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seed", range(30))
def test_overwritten_file_is_an_error_and_nothing_else(tmp_path: Path, tiny: TinyGguf, seed: int) -> None:
    path = tiny.write(tmp_path / "tiny.gguf")
    data = bytearray(path.read_bytes())
    start = int(np.random.default_rng(seed).integers(0, 6000))
    data[start : start + 64] = np.random.default_rng(seed).bytes(64)
    path.write_bytes(data)
    try:
        convert_gguf(path, tmp_path / "out", NullProgress())
    except CheckpointError:
        assert not (tmp_path / "out").exists()
    else:
        assert is_intact(tmp_path / "out")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing\.gguf"):
        convert_gguf(tmp_path / "nothing.gguf", tmp_path / "out", NullProgress())


def test_processes_converting_at_once_all_end_well(tmp_path: Path, tiny: TinyGguf) -> None:
    source, target = tiny.write(tmp_path / "tiny.gguf"), tmp_path / "models" / "out"
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for future in [pool.submit(convert_gguf, source, target, NullProgress()) for _ in range(4)]:
            future.result(timeout=60)
    assert is_intact(target)
    assert list(target.parent.iterdir()) == [target]
