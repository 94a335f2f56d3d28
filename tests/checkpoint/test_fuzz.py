"""Damaged checkpoint folders: each loads, or is refused by an error that names something; never anything else."""

import copy
import json
import random
import shutil
import string
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.engine.loading_rank import load_runner
from llama4coder.errors import ConfigError
from llama4coder.progress import NullProgress
from llama4coder.tokenizer.tokenizer import Tokenizer
from tests.support.engines import resolved
from tests.support.models import write_tiny_llama
from tests.support.stored import KINDS, store_folder

FILE, CONFIG, INDEX = "model.safetensors", "config.json", "model.safetensors.index.json"
SOURCES = ("plain", "nf4 twice", "int8", "fp8 channel", "fine-grained")
NUM_MUTATIONS, NUM_SLOW_MUTATIONS = 120, 1500  # of each source

Mutation = Callable[[Path, random.Random], None]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {name: tmp_path_factory.mktemp("sources") / name.replace(" ", "-") for name in SOURCES}
    for name, folder in folders.items():
        write_tiny_llama(folder, tokenizer=True)
        if name in KINDS:
            store_folder(folder, name)
    return folders


ANYTHING: tuple[object, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 64, 10**9, 2**63, 1e308, float("nan"), float("inf"), 0.5),
    *("", "bfloat16", "nf4", "x", [], [1], {}, {"a": 1}, [128, 128], [0, 0], ["lm_head"]),
    *({"rope_type": "yarn"}, {"rope_type": "linear", "factor": 0}),
)


def some_json(rng: random.Random) -> object:
    return copy.deepcopy(rng.choice(ANYTHING))


def any_path(value: object, rng: random.Random) -> None:
    """Change, drop or add something somewhere in a JSON value."""
    while isinstance(value, dict | list) and value:
        key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        if isinstance(value[key], dict | list) and value[key] and rng.random() < 0.8:
            value = value[key]
        elif rng.random() < 0.25:
            del value[key]
            return
        else:
            value[key] = some_json(rng)
            return


def change_json(name: str) -> Mutation:
    def change(folder: Path, rng: random.Random) -> None:
        path = folder / name
        if not path.exists():
            return
        content = json.loads(path.read_text())
        for _ in range(rng.randint(1, 3)):
            any_path(content, rng)
        path.write_text(json.dumps(content))

    return change


def change_sizes(folder: Path, rng: random.Random) -> None:
    """The values that everything depends on."""
    path = folder / CONFIG
    content = json.loads(path.read_text())
    keys = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size")
    more = ("intermediate_size", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings", "attention_bias")
    key = rng.choice([*keys, *more, "mlp_bias", "rope_parameters", "model_type", "hidden_act", "quantization_config"])
    content[key] = some_json(rng)
    path.write_text(json.dumps(content))


def change_quantisation(folder: Path, rng: random.Random) -> None:
    path = folder / CONFIG
    content = json.loads(path.read_text())
    settings = content.setdefault("quantization_config", {"quant_method": "bitsandbytes", "load_in_4bit": True})
    if rng.random() < 0.3 and isinstance(settings, dict):
        settings["quant_method"] = rng.choice(["gptq", "awq", "fp8", "bitsandbytes", "compressed-tensors", None, 5, []])
    any_path(settings, rng)
    path.write_text(json.dumps(content))


def change_tensors(folder: Path, rng: random.Random) -> None:
    """Drop, rename, retype, reshape or add some."""
    tensors = load_file(folder / FILE)
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(sorted(tensors))
        tensor = tensors.pop(name)
        kind = rng.randrange(7)
        if kind == 1:
            tensors[name + rng.choice(["x", ".weight", "_scale", ".absmax", ".bias"])] = tensor
        elif kind == 2:
            types = [torch.int8, torch.float16, torch.int64, torch.bool, torch.float8_e5m2, torch.float64, torch.uint8]
            tensors[name] = tensor.float().to(rng.choice(types))
        elif kind == 3:
            tensors[name] = tensor.reshape(-1)[: rng.randint(0, tensor.numel())].clone()
        elif kind == 4:
            tensors[name] = tensor.reshape(*([1] * rng.randint(0, 3)), -1)
        elif kind == 5:
            tensors[name] = tensor.t().contiguous() if tensor.dim() == 2 else tensor.repeat(2)
        elif kind == 6:
            tensors[name] = torch.randint(0, 256, (tensor.nbytes,), dtype=torch.uint8).view(-1)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / FILE)


def truncate(folder: Path, rng: random.Random) -> None:
    path = rng.choice(sorted(path for path in folder.iterdir() if path.is_file()))
    with path.open("r+b") as file:
        file.truncate(rng.choice([0, 1, 8, 9, 100, rng.randint(0, path.stat().st_size)]))


def garble(folder: Path, rng: random.Random) -> None:
    """Overwrite some bytes, mostly of the beginning, where headers are."""
    path = rng.choice(sorted(path for path in folder.iterdir() if path.is_file()))
    data = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 8)):
        if data:
            data[rng.randrange(min(len(data), rng.choice([8, 200, 20_000])))] = rng.randrange(256)
    path.write_bytes(data)


def change_header(folder: Path, rng: random.Random) -> None:
    """A header that is JSON, and wrong."""
    data = (folder / FILE).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    any_path(header, rng)
    text = json.dumps(header).encode()
    (folder / FILE).write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


def shard(folder: Path, rng: random.Random) -> None:
    """An index, and something wrong with it."""
    names = list(load_file(folder / FILE))
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, FILE)}))
    if rng.random() < 0.5:
        change_json(INDEX)(folder, rng)
        return
    content = json.loads((folder / INDEX).read_text())
    places = ["../other.safetensors", "/etc/passwd", "", ".", "config.json", "none.safetensors", "\0", "a" * 300]
    content["weight_map"][rng.choice(names)] = rng.choice(places)
    (folder / INDEX).write_text(json.dumps(content))


def drop(folder: Path, rng: random.Random) -> None:
    rng.choice(sorted(path for path in folder.iterdir() if path.is_file())).unlink()


def change_state(folder: Path, rng: random.Random) -> None:
    """What bitsandbytes says about a matrix."""
    tensors = load_file(folder / FILE)
    names = [name for name in tensors if "quant_state" in name]
    if not names:
        return
    name = rng.choice(names)
    state = json.loads(bytes(tensors[name].tolist()))
    any_path(state, rng)
    tensors[name] = torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)
    save_file(tensors, folder / FILE)


def confuse_tokens(folder: Path, rng: random.Random) -> None:
    path = folder / "tokenizer.json"
    text = path.read_text()
    start = rng.randrange(len(text))
    path.write_text(text[:start] + "".join(rng.choices(string.printable, k=rng.randint(0, 30))) + text[start + 5 :])


MUTATIONS: list[Mutation] = [
    *(change_json(CONFIG), change_json("tokenizer.json"), change_json("tokenizer_config.json")),
    *(change_json("generation_config.json"), change_sizes, change_sizes, change_quantisation, change_tensors),
    *(
        change_tensors,
        truncate,
        garble,
        garble,
        change_header,
        change_header,
        shard,
        drop,
        change_state,
        confuse_tokens,
    ),
]


def load(folder: Path) -> None:
    """All that a start reads of it."""
    found = find_checkpoint(str(folder), folder.parent, NullProgress())
    config = resolved(found, num_blocks=8, context_length=64, max_sequences=2, max_step_tokens=16)
    Tokenizer.from_folder(found).encode("def f(x):\n", add_bos=True)
    load_runner(config, NullProgress())


def try_mutations(source: Path, target: Path, seeds: range) -> int:
    """Returns how many were refused."""
    num_refused = 0
    for seed in seeds:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
        rng = random.Random(f"{source.name} {seed}")
        mutation = rng.choice(MUTATIONS)
        try:
            mutation(target, rng)
            load(target)
        except ConfigError as error:
            num_refused += 1
            assert len(str(error)) > 20, f"seed {seed}: {error}"
        except Exception as error:
            raise AssertionError(f"seed {seed}: {getattr(mutation, '__qualname__', mutation)}") from error
    return num_refused


@pytest.mark.parametrize("source", SOURCES)
def test_damage_is_named(sources: dict[str, Path], tmp_path: Path, source: str) -> None:
    num_refused = try_mutations(sources[source], tmp_path / "model", range(NUM_MUTATIONS))
    assert NUM_MUTATIONS * 0.4 < num_refused < NUM_MUTATIONS


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("source", SOURCES)
def test_more_damage_is_named(sources: dict[str, Path], tmp_path: Path, source: str) -> None:
    try_mutations(sources[source], tmp_path / "model", range(1000, 1000 + NUM_SLOW_MUTATIONS))
