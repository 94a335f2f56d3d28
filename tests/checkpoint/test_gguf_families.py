"""Families and scalings of positions from GGUF, and vocabularies of SentencePiece."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from llama4coder.checkpoint.gguf import convert_gguf
from llama4coder.errors import CheckpointError
from llama4coder.progress import NullProgress
from llama4coder.tokenizer.tokenizer import Tokenizer
from tests.support.engines import resolved
from tests.support.logits import NUM_BLOCKS, logits_in_chunks
from tests.support.tiny_gguf import TinyGguf, random_llama, random_model, tiny_gguf_of

IDS = [number * 7 % 260 for number in range(100)]
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


def converted(tiny: TinyGguf, folder: Path) -> Path:
    convert_gguf(tiny.write(folder / "tiny.gguf"), folder / "out", NullProgress())
    return folder / "out"


def assert_like_original(folder: Path, original: PreTrainedModel) -> None:
    """In transformers and here."""
    with torch.inference_mode():
        expected = original(torch.tensor([IDS])).logits[0]
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(torch.tensor([IDS])).logits[0]
    torch.testing.assert_close(theirs, expected, rtol=0, atol=2e-5)
    ours = logits_in_chunks(resolved(folder, num_blocks=NUM_BLOCKS, context_length=128), IDS, [60, 39, 1])
    torch.testing.assert_close(ours, expected, rtol=2e-4, atol=2e-4)


def test_qwen3_brings_norms_of_heads(tmp_path: Path) -> None:
    original = random_model("qwen3", head_dim=16)
    tiny = tiny_gguf_of(original)
    tiny.settings["qwen3.attention.key_length"] = 16
    assert_like_original(converted(tiny, tmp_path), original)


def test_missing_norm_of_heads_is_named(tmp_path: Path) -> None:
    tiny = tiny_gguf_of(random_model("qwen3", head_dim=8))
    del tiny.tensors["blk.1.attn_k_norm.weight"]
    with pytest.raises(CheckpointError, match=r"blk\.1\.attn_k_norm\.weight is missing"):
        converted(tiny, tmp_path)


def test_smollm3_leaves_positions_out_in_every_fourth_layer(tmp_path: Path) -> None:
    original = random_model("smollm3", num_hidden_layers=4)
    tiny = tiny_gguf_of(original)
    tiny.num_layers = 4
    assert_like_original(converted(tiny, tmp_path), original)


@pytest.mark.parametrize("kind", [gguf.RopeScalingType.LINEAR, gguf.RopeScalingType.YARN])
def test_scaled_positions(tmp_path: Path, kind: gguf.RopeScalingType) -> None:
    rope: dict[str, object] = {"rope_type": kind.value, "rope_theta": 5000.0, "factor": 4.0}
    if kind == gguf.RopeScalingType.YARN:
        rope["original_max_position_embeddings"] = 32
    original = random_model("llama", rope_parameters=rope)
    tiny = tiny_gguf_of(original)
    tiny.rope_scaling = kind
    tiny.settings |= {"llama.rope.scaling.factor": 4.0, "llama.rope.scaling.original_context_length": 32}
    assert_like_original(converted(tiny, tmp_path), original)


def test_llama3_scales_by_a_tensor(tmp_path: Path) -> None:
    original = random_model("llama", rope_parameters=LLAMA3)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](original.config, torch.device("cpu"))
    plain = 1.0 / 5000.0 ** (torch.arange(0, 8, 2) / 8)
    tiny = tiny_gguf_of(original)
    tiny.tensors["rope_freqs.weight"] = (plain / scaled).numpy()
    assert_like_original(converted(tiny, tmp_path), original)


@pytest.mark.parametrize(
    ("kind", "factors", "settings", "named"),
    [
        (None, np.ones(3, np.float32), {}, "pair of features"),
        (None, np.array([1, 1, 0, 1], np.float32), {}, "pair of features"),
        (gguf.RopeScalingType.LINEAR, np.ones(4, np.float32), {}, "twice"),
        (gguf.RopeScalingType.LONGROPE, None, {}, "longrope"),
        (gguf.RopeScalingType.YARN, None, {"llama.rope.scaling.yarn_log_multiplier": 0.1}, "apart"),
        (gguf.RopeScalingType.LINEAR, None, {}, r"scaling\.factor"),
    ],
)
def test_scalings_that_would_come_out_wrong_are_refused(
    tmp_path: Path,
    kind: gguf.RopeScalingType | None,
    factors: npt.NDArray[np.float32] | None,
    settings: dict[str, Any],
    named: str,
) -> None:
    tiny = tiny_gguf_of(random_llama(tied=True))
    tiny.rope_scaling = kind
    tiny.settings |= settings
    if factors is not None:
        tiny.tensors["rope_freqs.weight"] = factors
    with pytest.raises(CheckpointError, match=named):
        converted(tiny, tmp_path)


PIECES = ("<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)))
MERGED = ("▁", "d", "e", "f", "(", ")", ":", "de", "def", "▁def", "▁▁", "▁▁▁▁", "ef", "▁d", "x", "▁(")


def sentencepiece() -> TinyGguf:
    tiny = tiny_gguf_of(random_model("llama", vocab_size=len(PIECES) + len(MERGED)))
    tiny.model, tiny.pre = "llama", "default"
    tiny.tokens = [*PIECES, *MERGED]
    tiny.kinds = [2, 3, 3, *[6] * 256, *[1] * len(MERGED)]
    tiny.scores = [0.0] * len(PIECES) + [float(-place) for place in range(len(MERGED))]
    tiny.bos, tiny.eos, tiny.add_bos = 1, 2, True
    return tiny


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("def def", ["▁def", "▁def"]),
        ("ef", ["▁", "ef"]),
        ("    def", ["▁▁▁▁", "▁def"]),
        ("x\n", ["▁", "x", "<0x0A>"]),
        ("é", ["▁", "<0xC3>", "<0xA9>"]),
        ("</s>x", ["</s>", "▁", "x"]),
    ],
)
def test_pieces_are_joined_by_their_scores(tmp_path: Path, text: str, pieces: list[str]) -> None:
    tokenizer = Tokenizer.from_folder(converted(sentencepiece(), tmp_path))
    vocabulary = [*PIECES, *MERGED]
    assert [vocabulary[token_id] for token_id in tokenizer.encode(text, add_bos=False)] == pieces
    assert tokenizer.encode(text, add_bos=True)[0] == 1


@pytest.mark.parametrize("damage", [{"scores": [0.0] * 3}, {"tokens": [*PIECES, *MERGED[:-1], "d"]}])
def test_a_vocabulary_that_contradicts_itself(tmp_path: Path, damage: dict[str, list[object]]) -> None:
    tiny = sentencepiece()
    for name, value in damage.items():
        setattr(tiny, name, value)
    with pytest.raises(CheckpointError, match="vocabulary"):
        converted(tiny, tmp_path)
