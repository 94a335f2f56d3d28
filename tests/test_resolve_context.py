"""How long a context may be, and what it means if it is not the model's own."""

from dataclasses import replace
from pathlib import Path

import pytest

from llama4coder.config import DeploymentConfig, EngineConfig, ModelConfig
from llama4coder.errors import ConfigError
from llama4coder.machine import Machine
from llama4coder.progress import NullProgress
from llama4coder.resolve import context_note, resolve
from llama4coder.resolve_folder import resolve_folder, resolve_on
from llama4coder.shape import ModelShape, read_shape
from tests.support.models import write_tiny
from tests.support.shapes import LLAMA_8B

GIB = 2**30
MACHINE = Machine("cpu", 256 * GIB, num_cpus=8, computes_bfloat16=True)
SLIDING = replace(LLAMA_8B, max_position=32768, window=4096)
YARN = replace(LLAMA_8B, max_position=32768, rope={"rope_type": "yarn", "factor": 4.0})


def note(shape: ModelShape, context_length: int) -> str | None:
    config = DeploymentConfig(model=ModelConfig(context_length=context_length))
    return context_note(resolve(config, Path("/models/coder"), shape, MACHINE), shape)


def test_another_context_than_the_models_own_is_explained() -> None:
    assert note(LLAMA_8B, 131072) is None
    assert "longer prompts are refused" in str(note(LLAMA_8B, 4096))
    assert "answers get worse" in str(note(LLAMA_8B, 262144))
    assert note(YARN, 131072) is None


def test_positions_can_be_scaled_without_touching_the_checkpoint(tmp_path: Path) -> None:
    write_tiny(tmp_path, "qwen2", tokenizer=True, rope_parameters={"rope_type": "default", "rope_theta": 1e6})
    assert read_shape(tmp_path).num_positions == 512
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}
    shape = read_shape(tmp_path, scaling)
    assert (shape.num_positions, shape.rope) == (2048, {"rope_theta": 1e6, **scaling})
    config = DeploymentConfig(model=ModelConfig(path=str(tmp_path), rope_scaling=scaling))
    resolved = resolve_on(MACHINE, config, NullProgress())
    assert (resolved.model.context_length, resolved.model.rope_scaling) == (2048, scaling)


def test_another_context_is_a_warning_at_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_tiny(tmp_path, "qwen2", tokenizer=True)
    resolve_folder(DeploymentConfig(), tmp_path, MACHINE)
    assert caplog.messages == []
    resolve_folder(DeploymentConfig(model=ModelConfig(context_length=256)), tmp_path, MACHINE)
    assert ["longer prompts are refused" in message for message in caplog.messages] == [True]


@pytest.mark.parametrize(
    ("engine", "named"),
    [({"ranks": 2, "kv_shards": 2}, "engine.kv_shards"), ({"top_blocks": 64}, "engine.top_blocks")],
)
def test_what_is_no_use_where_tokens_see_a_window(engine: dict[str, object], named: str) -> None:
    config = DeploymentConfig(engine=EngineConfig(**engine))
    with pytest.raises(ConfigError, match=named):
        resolve(config, Path("/models/coder"), SLIDING, MACHINE)
    short = config.model_copy(update={"model": ModelConfig(context_length=4096)})
    assert resolve(short, Path("/models/coder"), SLIDING, MACHINE).model.context_length == 4096


def test_a_window_holds_a_block() -> None:
    with pytest.raises(ConfigError, match="15 tokens"):
        resolve(DeploymentConfig(), Path("/models/coder"), replace(SLIDING, window=15), MACHINE)
