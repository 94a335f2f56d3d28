"""Quantised folders: they load here and in transformers, with the same logits."""

import json
from pathlib import Path

import bitsandbytes.functional as bnb
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from cluster.cli import app
from llama4coder.checkpoint.checksums import check_checksums
from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.convert.forms import BitsAndBytesNf4, CompressedFp8, WeightForm
from llama4coder.convert.nested import NestedScales, dynamic_map
from llama4coder.convert.quantise import Conversion, quantise_folder
from llama4coder.errors import CheckpointError, ConfigError
from llama4coder.exclusions import NOTHING, Exclusions
from llama4coder.progress import NullProgress
from llama4coder.quant.formats import Fp8Weights, Nf4Weights
from tests.support.engines import resolved
from tests.support.logits import NUM_BLOCKS, logits_in_chunks
from tests.support.models import write_tiny_llama
from tests.support.progress import CountingProgress
from tests.support.stored import configure

FORMS: dict[str, WeightForm] = {
    "nf4": BitsAndBytesNf4(False, "float32"),
    "nf4 twice": BitsAndBytesNf4(True, "float32"),
    "fp8": CompressedFp8(),
}
TOKENS = torch.randint(0, 512, (40,), generator=torch.Generator().manual_seed(3)).tolist()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_tiny_llama(tmp_path / "source", hidden_size=128, tokenizer=True)
    (tmp_path / "source" / "LICENSE").write_text("yours")
    return tmp_path / "source"


def quantise(source: Path, form: str, exclusions: Exclusions = NOTHING, **limits: int) -> Path:
    target = source.parent / "target"
    quantise_folder(source, target, Conversion(FORMS[form], exclusions, **limits), NullProgress())
    return target


def transformers_logits(folder: Path) -> Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.train()  # bitsandbytes computes in bfloat16 on CPUs otherwise; nothing else in a Llama depends on it
    with torch.no_grad():
        return model(torch.tensor([TOKENS])).logits[0].float()


def our_logits(folder: Path, **settings: object) -> Tensor:
    return logits_in_chunks(resolved(folder, num_blocks=NUM_BLOCKS, **settings), TOKENS, [40])


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return ((actual - expected).square().mean() / expected.square().mean()).sqrt().item()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("excluded", [(), ("model.layers.0.*",)], ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_transformers_computes_the_same_logits(source: Path, form: str, excluded: tuple[str, ...]) -> None:
    plain = our_logits(source)
    target = quantise(source, form, Exclusions(excluded))
    theirs, ours = transformers_logits(target), our_logits(target)
    assert relative_error(ours, theirs) < (0.05 if form == "fp8" else 1e-4)
    assert relative_error(ours, plain) > 0.03, "otherwise nothing was rounded"
    assert resolved(target, num_blocks=NUM_BLOCKS).model.quant == FORMS[form].quant


@pytest.mark.parametrize("form", FORMS)
def test_what_is_served_from_it_is_what_quantising_at_load_gives(source: Path, form: str) -> None:
    """But for scales that are rounded themselves."""
    at_load = our_logits(source, quant=FORMS[form].quant, quant_exclude=("lm_head",))
    assert relative_error(our_logits(quantise(source, form)), at_load) < (0.05 if form == "nf4 twice" else 1e-5)


def test_bitsandbytes_reads_the_tensors(source: Path) -> None:
    for form, rtol in (("nf4", 1e-6), ("nf4 twice", 0.05)):
        weight = torch.randn(32, 192)
        tensors = {name.removeprefix("m.weight."): part for name, part in FORMS[form].tensors("m", weight).items()}
        packed = tensors.pop("m.weight")
        found = bnb.dequantize_4bit(packed, bnb.QuantState.from_dict(tensors, torch.device("cpu")))
        torch.testing.assert_close(found, Nf4Weights.of(weight).dequantise(), rtol=rtol, atol=1e-3)


def test_the_dynamic_map_is_that_of_bitsandbytes() -> None:
    assert torch.equal(dynamic_map(), bnb.create_dynamic_map())
    scales = torch.rand(700) + 0.5
    nested = NestedScales.of(scales)
    wide = dynamic_map()[nested.codes.int()] * nested.largest.repeat_interleave(256)[:700] + nested.offset
    torch.testing.assert_close(wide, scales, atol=0.02, rtol=0)


def test_everything_but_weights_is_copied_and_listed(source: Path) -> None:
    target = quantise(source, "fp8")
    names = {path.name for path in target.iterdir()}
    assert {"LICENSE", "tokenizer.json", "generation_config.json", "config.json", "SHA256SUMS"} <= names
    assert (target / "LICENSE").read_text() == "yours"
    check_checksums(target, NullProgress())
    assert find_checkpoint(str(target), source, NullProgress()) == target
    assert [path.name for path in source.parent.iterdir() if path.name.startswith(".")] == []


def test_head_embedding_norms_and_exclusions_stay_as_they_are(source: Path) -> None:
    target = quantise(source, "fp8", Exclusions(("*.down_proj",)))
    before, after = load_file(source / "model.safetensors"), {}
    for path in target.glob("*.safetensors"):
        after |= load_file(path)
    for name, tensor in before.items():
        if name.endswith(("norm.weight", "down_proj.weight", "head.weight", "tokens.weight")):
            assert torch.equal(after[name], tensor)
        else:
            assert after[name].dtype == torch.float8_e4m3fn
            assert torch.equal(after[name].float(), Fp8Weights.of(tensor).values.float())
    ignored = json.loads((target / "config.json").read_text())["quantization_config"]["ignore"]
    assert ignored == ["model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj", "lm_head"]


@pytest.mark.parametrize("form", FORMS)
def test_shards_are_of_a_bounded_size(source: Path, form: str) -> None:
    target = quantise(source, form, max_shard_bytes=100_000)
    files = sorted(target.glob("model-*.safetensors"))
    assert len(files) > 3 and files[0].name == f"model-00001-of-{len(files):05d}.safetensors"
    index = json.loads((target / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {path.name for path in files}
    total = 0
    for path in files:
        with safe_open(path, framework="pt") as opened:
            tensors = [opened.get_tensor(name) for name in opened.keys()]
        num_bytes = sum(tensor.nbytes for tensor in tensors)
        assert num_bytes <= 100_000 or len(tensors) == 1
        total += num_bytes
    assert index["metadata"]["total_size"] == total
    torch.testing.assert_close(our_logits(target), our_logits_of_one_shard(source, form))


def our_logits_of_one_shard(source: Path, form: str) -> Tensor:
    whole = source.parent / "whole"
    quantise_folder(source, whole, Conversion(FORMS[form], NOTHING), NullProgress())
    return our_logits(whole)


def test_progress_counts_every_byte(source: Path) -> None:
    progress = CountingProgress()
    quantise_folder(source, source.parent / "target", Conversion(FORMS["nf4"], NOTHING), progress)
    assert progress.finished and progress.unit == "B" and progress.label == "checksums"


def test_sizes_that_a_form_cannot_have_stay(tmp_path: Path) -> None:
    write_tiny_llama(tmp_path / "source", intermediate_size=96)
    target = quantise(tmp_path / "source", "nf4")
    skipped = json.loads((target / "config.json").read_text())["quantization_config"]["llm_int8_skip_modules"]
    assert skipped == ["model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj", "lm_head"]
    our_logits(target)


def test_what_cannot_be_written_is_refused(source: Path) -> None:
    target = quantise(source, "nf4")
    with pytest.raises(ConfigError, match="target exists already"):
        quantise(source, "nf4")
    with pytest.raises(CheckpointError, match="quantised already"):
        quantise_folder(target, source.parent / "again", Conversion(FORMS["fp8"], NOTHING), NullProgress())
    with pytest.raises(ConfigError, match="--exclude: 'nothing' matches no module"):
        conversion = Conversion(FORMS["fp8"], Exclusions(("nothing",)))
        quantise_folder(source, source.parent / "other", conversion, NullProgress())
    assert sorted(path.name for path in source.parent.iterdir()) == ["source", "target"]


def test_failure_leaves_nothing(source: Path) -> None:
    with (source / "model.safetensors").open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(CheckpointError, match="is damaged"):
        quantise(source, "fp8")
    assert [path.name for path in source.parent.iterdir()] == ["source"]


def test_the_command(source: Path) -> None:
    target = source.parent / "target"
    arguments = ["quantize", str(source), str(target), "--to", "nf4", "--double-quant", "--exclude", "*.o_proj"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    settings = json.loads((target / "config.json").read_text())["quantization_config"]
    assert settings["bnb_4bit_use_double_quant"]
    assert "model.layers.0.self_attn.o_proj" in settings["llm_int8_skip_modules"]
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 1 and "exists already" in again.output
    assert CliRunner().invoke(app, ["quantize", str(source), "x", "--to", "int3"]).exit_code == 2
    assert CliRunner().invoke(app, ["quantize", str(source), "x", "--to", "fp8", "--double-quant"]).exit_code == 2


def test_a_source_of_another_kind(source: Path) -> None:
    configure(source, model_type="bert")
    with pytest.raises(CheckpointError, match="bert"):
        quantise(source, "fp8")
