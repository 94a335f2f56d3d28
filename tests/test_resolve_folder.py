"""A resolved configuration on another machine, whose cache is its own."""

from pathlib import Path

import pytest

from llama4coder.config import DeploymentConfig, ModelConfig
from llama4coder.env import CACHE_VARIABLE
from llama4coder.errors import CheckpointError
from llama4coder.machine import Machine
from llama4coder.progress import NullProgress
from llama4coder.resolve_folder import on_this_machine, resolve_on
from llama4coder.resolved import ResolvedConfig
from tests.support.models import write_tiny_llama
from tests.support.tiny_gguf import random_llama, tiny_gguf_of

MACHINE = Machine("cpu", 2**33, num_cpus=2, computes_bfloat16=True)


def resolved(path: Path) -> ResolvedConfig:
    return resolve_on(MACHINE, DeploymentConfig(model=ModelConfig(path=str(path))), NullProgress())


def test_a_gguf_file_is_converted_where_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_gguf_of(random_llama(tied=True)).write(tmp_path / "tiny.gguf")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "head"))
    there = resolved(model)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "worker"))
    here = on_this_machine(there)
    assert Path(here.model.path).is_relative_to(tmp_path / "worker")
    assert (Path(here.model.path) / "model.safetensors").is_file()
    assert here.model_copy(update={"model": there.model}) == there, "nothing else has changed"


def test_a_folder_is_where_it_is_named_whatever_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_llama(tmp_path / "tiny", tokenizer=True)
    monkeypatch.chdir(tmp_path)
    there = resolved(Path("tiny"))
    monkeypatch.chdir("/")
    assert on_this_machine(there) == there
    (tmp_path / "tiny").rename(tmp_path / "gone")
    with pytest.raises(CheckpointError, match=r"the model folder .*tiny does not exist"):
        on_this_machine(there)
