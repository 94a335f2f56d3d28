"""What config.json may say, and what it may not."""

import json
from pathlib import Path

import pytest

from llama4coder.errors import CheckpointError
from llama4coder.shape import read_shape

CONFIG = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 16384,
}


def write(folder: Path, **changes: object) -> Path:
    config = {key: value for key, value in {**CONFIG, **changes}.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_defaults_are_those_of_the_family(tmp_path: Path) -> None:
    shape = read_shape(write(tmp_path))
    assert (shape.num_kv_heads, shape.head_dim) == (32, 128)
    assert not (shape.tied_embeddings or shape.qkv_bias or shape.attention_out_bias or shape.mlp_bias)
    assert shape.rope == {"rope_type": "default", "rope_theta": 10_000.0}
    assert shape.num_parameters == pytest.approx(6.74e9, rel=0.01)  # Llama-2 7B


@pytest.mark.parametrize(
    "spelling",
    [
        {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 4.0}},
        {"rope_theta": 5e5, "rope_scaling": {"rope_type": "linear", "factor": 4.0}},
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e5}},
    ],
    ids=["oldest", "older", "transformers 5"],
)
def test_every_spelling_of_rope_means_the_same(tmp_path: Path, spelling: dict[str, object]) -> None:
    assert read_shape(write(tmp_path, **spelling)).rope == {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e5}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "mixtral"}, "mixtral"),
        ({"model_type": ...}, "model_type"),
        ({"vocab_size": ...}, "vocab_size"),
        ({"hidden_size": "big"}, "hidden_size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, more than 1000"),
        ({"hidden_size": True}, "hidden_size is True"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps is 'small', not a small number"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps is nan"),
        ({"num_key_value_heads": 5}, "5 KV heads"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"model_type": "mixtral"}, "vLLM"),
        ({"model_type": "mistral", "sliding_window": 0}, "sliding_window"),
        ({"model_type": "qwen2", "use_sliding_window": True, "max_window_layers": 3}, "layers differ"),
        ({"model_type": "qwen3", "layer_types": ["full_attention"] * 31}, "layer_types"),
        ({"model_type": "qwen3", "layer_types": ["linear_attention"] * 32}, "linear_attention"),
        ({"model_type": "smollm3", "no_rope_layers": [1, 2] * 16}, "no_rope_layers"),
        ({"model_type": "smollm3", "no_rope_layer_interval": 0}, "no_rope_layer_interval"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps"),
        ({"head_dim": 65}, "65 features"),
    ],
)
def test_what_cannot_be_served_is_named(tmp_path: Path, changes: dict[str, object], named: str) -> None:
    with pytest.raises(CheckpointError, match=named):
        read_shape(write(tmp_path, **changes))


@pytest.mark.parametrize(
    ("changes", "window"),
    [
        ({"model_type": "mistral"}, 4096),  # transformers' default
        ({"model_type": "mistral", "sliding_window": None}, None),
        ({"model_type": "qwen2", "sliding_window": 4096}, None),
        ({"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 512, "max_window_layers": 0}, 512),
        ({"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 512, "max_window_layers": 32}, None),
        ({"model_type": "qwen3", "sliding_window": 64, "layer_types": ["sliding_attention"] * 32}, 64),
        ({"sliding_window": 512}, None),  # llama has none
    ],
)
def test_how_far_back_tokens_see(tmp_path: Path, changes: dict[str, object], window: int | None) -> None:
    assert read_shape(write(tmp_path, **changes)).window == window


@pytest.mark.parametrize(
    ("changes", "layers"),
    [
        ({}, tuple(range(3, 32, 4))),
        ({"no_rope_layer_interval": 16}, (15, 31)),
        ({"no_rope_layers": [0] + [1] * 31}, (0,)),
    ],
)
def test_layers_that_know_no_positions(tmp_path: Path, changes: dict[str, object], layers: tuple[int, ...]) -> None:
    assert read_shape(write(tmp_path, model_type="smollm3", **changes)).unrotated_layers == layers


@pytest.mark.parametrize(
    ("rope", "num_positions"),
    [
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, 131072),
        ({"rope_type": "yarn", "factor": 4.0}, 65536),
        ({"rope_type": "dynamic", "factor": 2.0}, 32768),
        ({"rope_type": "linear", "factor": 4.0}, 16384),
        ({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}, 16384),
    ],
)
def test_the_context_that_a_model_is_meant_for(tmp_path: Path, rope: dict[str, object], num_positions: int) -> None:
    assert read_shape(write(tmp_path, rope_scaling=rope)).num_positions == num_positions


@pytest.mark.parametrize("content", [None, "{", "[]", "\xff"])
def test_a_file_that_is_no_config(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_shape(tmp_path)
