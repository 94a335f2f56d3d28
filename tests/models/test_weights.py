"""Checkpoint folders that are damaged, incomplete, or not what config.json says: always a clear error."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from llama4coder.checkpoint.checksums import write_checksums
from llama4coder.engine.loading_rank import load_runner
from llama4coder.errors import CheckpointError
from llama4coder.progress import NullProgress
from tests.support.engines import resolved
from tests.support.models import write_tiny_llama
from tests.support.progress import CountingProgress

FILE = "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tiny_llama(tmp_path)
    return tmp_path


def load(folder: Path) -> CountingProgress:
    progress = CountingProgress()
    load_runner(resolved(folder, num_blocks=40), progress)
    return progress


def rewrite(folder: Path, name: str, tensor: torch.Tensor | None) -> None:
    tensors = load_file(folder / FILE)
    del tensors[name]
    if tensor is not None:
        tensors[name] = tensor
    save_file(tensors, folder / FILE)


def shard(folder: Path) -> Path:
    """Split the file in two with an index, as large checkpoints come; returns the index."""
    tensors = load_file(folder / FILE)
    names = sorted(tensors)
    weight_map = {}
    for index, part in enumerate((names[::2], names[1::2])):
        file = f"model-{index}.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file)
        weight_map.update(dict.fromkeys(part, file))
    (folder / FILE).unlink()
    index_file = folder / "model.safetensors.index.json"
    index_file.write_text(json.dumps({"weight_map": weight_map}))
    return index_file


def test_every_byte_is_read_once(folder: Path) -> None:
    tensors = load_file(folder / FILE)
    progress = load(folder)
    assert progress.done == sum(tensor.nbytes for tensor in tensors.values())


def test_shards_are_found_through_the_index(folder: Path) -> None:
    shard(folder)
    load(folder)


def test_a_missing_tensor(folder: Path) -> None:
    rewrite(folder, "model.layers.1.mlp.up_proj.weight", None)
    with pytest.raises(CheckpointError, match=r"no tensor model\.layers\.1\.mlp\.up_proj\.weight"):
        load(folder)


def test_a_tensor_of_the_wrong_shape(folder: Path) -> None:
    rewrite(folder, "model.norm.weight", torch.ones(63))
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight is \[63\], expected \[64\]"):
        load(folder)


def test_a_tensor_of_the_wrong_type(folder: Path) -> None:
    rewrite(folder, "model.norm.weight", torch.ones(64, dtype=torch.int8))
    with pytest.raises(CheckpointError, match=r"norm.weight is torch.int8, and its scales"):
        load(folder)


@pytest.mark.parametrize("num_bytes", [0, 5, 100, 5000])
def test_a_truncated_file(folder: Path, num_bytes: int) -> None:
    with (folder / FILE).open("r+b") as file:
        file.truncate(num_bytes)
    with pytest.raises(CheckpointError, match="is damaged"):
        load(folder)


def test_no_weights_at_all(folder: Path) -> None:
    (folder / FILE).rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"no \*\.safetensors; pickled weights are never opened"):
        load(folder)


@pytest.mark.parametrize("file", ["../outside.safetensors", "/etc/passwd", "sub/model.safetensors"])
def test_an_index_that_leads_out_of_the_folder(folder: Path, file: str) -> None:
    index = shard(folder)
    content = json.loads(index.read_text())
    content["weight_map"]["model.norm.weight"] = file
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="not a file of this folder"):
        load(folder)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"weight_map": 5}'])
def test_a_damaged_index(folder: Path, content: str) -> None:
    shard(folder).write_text(content)
    with pytest.raises(CheckpointError, match=r"index\.json cannot be read"):
        load(folder)


def test_a_missing_shard(folder: Path) -> None:
    shard(folder)
    (folder / "model-1.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-1\.safetensors, which is missing"):
        load(folder)


@pytest.mark.parametrize(
    ("rope", "named"),
    [
        ({"rope_type": "spiral", "rope_theta": 1e4}, "spiral"),
        ({"rope_type": "llama3", "rope_theta": 1e4}, "incomplete"),
        ({"rope_type": "default", "rope_theta": -1}, "rope_theta"),
    ],
)
def test_rope_parameters_that_make_no_sense(folder: Path, rope: dict[str, object], named: str) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "rope_parameters": rope}))
    with pytest.raises(CheckpointError, match=named):
        load(folder)


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.self_attn.q_norm.weight",
        "model.layers.1.self_attn.q_proj.bias",
        "model.layers.2.mlp.up_proj.weight",
        "score.weight",
        "vision_tower.patch.weight",
    ],
)
def test_a_tensor_that_the_model_has_no_place_for(folder: Path, name: str) -> None:
    tensors = load_file(folder / FILE)
    save_file({**tensors, name: torch.zeros(64)}, folder / FILE)
    with pytest.raises(CheckpointError, match=rf"has a tensor {re.escape(name)}, which a model as config\.json"):
        load(folder)


def test_tensors_that_nothing_needs_are_skipped(folder: Path) -> None:
    extra = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(8), "model.layers.0.k_scale": torch.ones(1)}
    save_file({**load_file(folder / FILE), **extra}, folder / FILE)
    progress = load(folder)
    assert progress.done == progress.total


def test_a_head_beside_a_tied_embedding_is_skipped(tmp_path: Path) -> None:
    write_tiny_llama(tmp_path, tie_word_embeddings=True)
    tensors = load_file(tmp_path / FILE)
    save_file({**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"].clone()}, tmp_path / FILE)
    load(tmp_path)


def test_weights_that_a_link_takes_from_elsewhere(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / FILE
    (folder / FILE).rename(outside)
    (folder / FILE).symlink_to(outside)
    with pytest.raises(CheckpointError, match="a link that leaves the model folder"):
        load(folder)


def test_verified_weights(folder: Path) -> None:
    config = resolved(folder, num_blocks=40)
    config = config.model_copy(update={"model": config.model.model_copy(update={"verify": True})})
    with pytest.raises(CheckpointError, match="neither SHA256SUMS nor manifest"):
        load_runner(config, NullProgress())
    write_checksums(folder, NullProgress())
    load_runner(config, NullProgress())
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    with pytest.raises(CheckpointError, match=r"config\.json is damaged: its SHA-256"):
        load_runner(config, NullProgress())
