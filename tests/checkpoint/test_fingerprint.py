"""Which configurations may go on with each other's answers."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from llama4coder.checkpoint.fingerprint import fingerprint
from llama4coder.resolved import ResolvedConfig
from llama4coder.types import Fingerprint
from tests.support.engines import resolved
from tests.support.models import write_tiny_llama


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_llama(folder, tokenizer=True)
    return folder


def changed(config: ResolvedConfig, part: str, **values: Any) -> Fingerprint:
    return fingerprint(config.model_copy(update={part: getattr(config, part).model_copy(update=values)}))


def test_what_does_not_touch_tokens_does_not_count(folder: Path, tmp_path: Path) -> None:
    config = resolved(folder)
    own = fingerprint(config)
    assert own.model and own.numerics
    assert changed(config, "engine", max_sequences=3, num_blocks=17, drain_timeout_s=1.0) == own
    assert changed(config, "server", max_choices=1) == own
    shutil.copytree(folder, tmp_path / "copy")
    assert changed(config, "model", path=str(tmp_path / "copy"), name="other") == own


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("model", {"quant": "int8"}),
        ("model", {"dtype": "bfloat16"}),
        ("engine", {"kv_format": "int8"}),
        ("engine", {"kv_shards": 2}),
    ],
)
def test_other_formats_are_other_numerics_of_the_same_model(folder: Path, part: str, values: dict[str, Any]) -> None:
    config = resolved(folder)
    other = changed(config, part, **values)
    assert other.numerics != fingerprint(config).numerics
    assert other.model == fingerprint(config).model


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_another_file_is_another_model(folder: Path, tmp_path: Path, name: str) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    content = bytearray((other / name).read_bytes())
    content[-1] ^= 1
    (other / name).write_bytes(content)
    config = resolved(folder)
    changes = changed(config, "model", path=str(other))
    assert changes.model != fingerprint(config).model
