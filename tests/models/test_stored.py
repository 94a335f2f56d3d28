"""Quantised checkpoints: what their tensors stand for, read part by part, and clear errors."""

import math
from pathlib import Path

import bitsandbytes.functional as bnb
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from llama4coder.checkpoint.harmless import is_harmless
from llama4coder.checkpoint.weight_files import WeightFiles
from llama4coder.errors import CheckpointError
from llama4coder.models.weights import Placement, WeightReader
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.parallel.plan import RankPlan
from llama4coder.progress import NullProgress
from llama4coder.quant.formats import Fp8Weights, Nf4Weights
from llama4coder.shape import read_shape
from tests.support.engines import resolved
from tests.support.logits import NUM_BLOCKS, logits_in_chunks
from tests.support.models import write_tiny_llama
from tests.support.progress import CountingProgress
from tests.support.stored import FILE, KINDS, configure, four_bits, store_folder

PLACEMENT = Placement(torch.float32, torch.device("cpu"))
LAYOUTS = [ParallelLayout(1, 1), ParallelLayout(2, 1), ParallelLayout(2, 2), ParallelLayout(1, 3)]
DOWN = "model.layers.1.mlp.down_proj"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sizes that neither groups nor blocks nor ranks divide evenly."""
    write_tiny_llama(tmp_path, hidden_size=160, intermediate_size=320, num_attention_heads=4, num_key_value_heads=2)
    return tmp_path


def reader(folder: Path, layout: ParallelLayout, rank: int, progress: CountingProgress | None = None) -> WeightReader:
    plan = RankPlan(read_shape(folder), layout, rank)
    return WeightReader(WeightFiles.find(folder), plan, PLACEMENT, progress or NullProgress())


def rewrite(folder: Path, changes: dict[str, Tensor | None]) -> None:
    tensors = {**load_file(folder / FILE), **changes}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, folder / FILE)


def read_all(folder: Path) -> None:
    logits_in_chunks(resolved(folder, num_blocks=NUM_BLOCKS, quant="none"), [1, 2, 3], [3])


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_every_rank_reads_its_part_of_what_is_meant(folder: Path, kind: str, layout: ParallelLayout) -> None:
    meant = store_folder(folder, kind)
    for rank in range(layout.num_ranks):
        source = reader(folder, layout, rank)
        plan = RankPlan(read_shape(folder), layout, rank)
        for name, whole in meant.items():
            part = plan.slice_of(name, tuple(whole.shape))
            expected = whole[part.rows] if part.columns is None else whole[part.rows, part.columns]
            torch.testing.assert_close(source.read(name, whole.shape), expected, rtol=2e-7, atol=0)
        source.check_all_read()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounding_again_gives_the_same_codes(dtype: torch.dtype) -> None:
    """Whether the weights pass through the model's dtype or not; scales are then those that the dtype can say."""
    weight = torch.randn(48, 256)
    nf4 = Nf4Weights.of(weight)
    again = Nf4Weights.of(nf4.dequantise().to(dtype))
    assert torch.equal(again.nibbles, nf4.nibbles) and torch.equal(again.largest, nf4.largest.to(dtype).float())
    fp8 = Fp8Weights.of(weight)
    again8 = Fp8Weights.of(fp8.dequantise().to(dtype))
    assert torch.equal(again8.values.float(), fp8.values.float())
    torch.testing.assert_close(again8.scales, fp8.scales, rtol=2**-8 if dtype == torch.bfloat16 else 2**-22, atol=0)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_what_is_meant_is_what_bitsandbytes_computes_with(kind: str, double: bool) -> None:
    """Where it computes correctly: rows that end with a group."""
    weight = torch.randn(24, 128)
    packed, state = bnb.quantize_4bit(weight, quant_type=kind, compress_statistics=double)
    torch.testing.assert_close(four_bits(kind, double=double)(weight).meaning, bnb.dequantize_4bit(packed, state))


@pytest.mark.parametrize("kind", KINDS)
def test_every_byte_is_read_once(folder: Path, kind: str) -> None:
    meant = store_folder(folder, kind)
    progress = CountingProgress()
    source = reader(folder, ParallelLayout(), 0, progress)
    for name, whole in meant.items():
        source.read(name, whole.shape)
    stored = load_file(folder / FILE)
    all_bytes = sum(part.nbytes for name, part in stored.items() if not is_harmless(name, tied_embeddings=False))
    assert progress.done == source.num_bytes == all_bytes


@pytest.mark.parametrize("kind", ["nf4", "fp8 channel", "int8"])
def test_modules_that_were_left_as_they_are(folder: Path, kind: str) -> None:
    meant = store_folder(folder, kind, spared=(DOWN,))
    source = reader(folder, ParallelLayout(), 0)
    assert torch.equal(source.read(f"{DOWN}.weight", (160, 320)), meant[f"{DOWN}.weight"])


@pytest.mark.parametrize(
    ("kind", "changes", "named"),
    [
        ("nf4", {".weight.quant_map": None}, r"no tensor .*down_proj\.weight\.quant_map"),
        ("nf4", {".weight.quant_map": torch.zeros(15)}, "quant_map is 15 numbers, expected 16"),
        ("nf4", {".weight.absmax": torch.zeros(3)}, "absmax is 3 numbers, expected 800"),
        ("nf4", {".weight": torch.zeros(5, 1, dtype=torch.uint8)}, r"down_proj\.weight is 5 bytes"),
        ("nf4", {".weight.quant_state.bitsandbytes__nf4": None}, r"no tensor .*bitsandbytes__nf4"),
        ("nf4", {".weight.quant_state.bitsandbytes__nf4": torch.zeros(9, dtype=torch.uint8)}, "nf4 is damaged"),
        ("nf4 twice", {".weight.nested_absmax": torch.zeros(1)}, "nested_absmax is 1 numbers, expected 4"),
        ("nf4 twice", {".weight.nested_quant_map": None}, "no tensor .*nested_quant_map"),
        ("int8", {".SCB": None}, r"down_proj\.weight is torch\.int8, and its scales"),
        ("int8", {".SCB": torch.zeros(5)}, r"SCB is \[5\], expected \[160\]"),
        ("int8", {".weight": torch.zeros(160, 320)}, r"weight is torch\.float32, expected int8"),
        ("fp8 channel", {".weight_scale": None}, r"down_proj\.weight is torch\.float8_e4m3fn, and its scales"),
        ("fp8 channel", {".weight_scale": torch.zeros(7, 3)}, r"weight_scale is \[7, 3\], expected scales of"),
        ("fp8 channel", {".weight_scale": torch.zeros(160, 1).int()}, "weight_scale is torch.int32"),
        ("fp8 channel", {".weight": torch.zeros(160, 320)}, "float32, expected float8_e4m3fn"),
        ("fine-grained", {".weight_scale_inv": torch.zeros(2, 2)}, r"weight_scale_inv is \[2, 2\]"),
    ],
)
def test_damaged_scales_are_named(folder: Path, kind: str, changes: dict[str, Tensor | None], named: str) -> None:
    store_folder(folder, kind)
    rewrite(folder, {DOWN + mark: tensor for mark, tensor in changes.items()})
    with pytest.raises(CheckpointError, match=named):
        read_all(folder)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"quant_method": "gptq", "bits": 4}, "the quantisation method 'gptq' is not read by this engine"),
        ({"quant_method": "awq", "bits": 4}, "'awq' is not read by this engine, .* serve it by vLLM"),
        (
            {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"g": {}}},
            "pack-quantized",
        ),
        ({"quant_method": "compressed-tensors", "format": "float-quantized"}, "without config_groups"),
        ({"quant_method": "bitsandbytes"}, "neither load_in_4bit nor load_in_8bit"),
        ({"quant_method": "fp8", "weight_block_size": [0, 128]}, r"\[0, 128\] is no block"),
        ({"bits": 4}, "the quantisation method None"),
        ("nf4", "is not a JSON object"),
    ],
)
def test_methods_that_are_not_read(folder: Path, settings: object, named: str) -> None:
    configure(folder, quantization_config=settings)
    with pytest.raises(CheckpointError, match=named):
        read_all(folder)


def test_int4_of_compressed_tensors_is_refused_by_name(folder: Path) -> None:
    weights = {"num_bits": 4, "type": "int", "strategy": "group"}
    settings = {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {"g": {"weights": weights}},
    }
    configure(folder, quantization_config=settings)
    with pytest.raises(CheckpointError, match=r"compressed-tensors pack-quantized \(g: int of 4 bits\)"):
        read_all(folder)


def test_a_matrix_is_put_into_its_dtype_a_few_rows_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meant = store_folder(folder, "nf4 twice")
    monkeypatch.setattr("llama4coder.models.stored._WEIGHTS_AT_ONCE", 1000)
    for name, whole in meant.items():
        found = reader(folder, ParallelLayout(), 0).read(name, whole.shape)
        torch.testing.assert_close(found, whole, rtol=2e-7, atol=0)
        assert math.prod(found.shape) == whole.numel()
