"""Whole models from quantised checkpoints: the logits of transformers with the weights that are meant."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from llama4coder.config import QuantFormat
from llama4coder.engine import loading_rank
from llama4coder.quant.formats import Fp8Weights, Int8Weights, Nf4Weights, QuantisedWeights
from llama4coder.quant.kernels import QuantisedTorchKernels
from tests.support.engines import resolved
from tests.support.logits import NUM_BLOCKS, logits_in_chunks
from tests.support.models import write_tiny_llama
from tests.support.stored import KINDS, store_folder

FORMATS: dict[QuantFormat, type[QuantisedWeights]] = {"nf4": Nf4Weights, "int8": Int8Weights, "fp8": Fp8Weights}
TOKENS = torch.randint(0, 512, (60,), generator=torch.Generator().manual_seed(1)).tolist()
DOWN = "model.layers.1.mlp.down_proj"


def stored_model(folder: Path, kind: str, *, spared: tuple[str, ...] = ()) -> LlamaForCausalLM:
    """Write it; returns one with the weights that are meant."""
    reference = write_tiny_llama(folder, hidden_size=128)
    reference.load_state_dict(store_folder(folder, kind, spared=spared))
    return reference


def logits(model: LlamaForCausalLM) -> Tensor:
    with torch.inference_mode():
        return model(torch.tensor([TOKENS])).logits[0]


def serve_in(model: LlamaForCausalLM, quant: QuantFormat) -> None:
    """Put every matrix but the head into a format, and in FP8 what it multiplies as well."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            module.weight.data = FORMATS[quant].of(module.weight.data).dequantise()
            if quant == "fp8":
                module.register_forward_pre_hook(lambda _, args: (rounded(args[0]),))


def rounded(x: Tensor) -> Tensor:
    return Fp8Weights.of(x[0]).dequantise()[None]


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return ((actual - expected).square().mean() / expected.square().mean()).sqrt().item()


@pytest.mark.parametrize("kind", KINDS)
def test_dequantised(tmp_path: Path, kind: str) -> None:
    expected = logits(stored_model(tmp_path, kind))
    actual = logits_in_chunks(resolved(tmp_path, num_blocks=NUM_BLOCKS, quant="none"), TOKENS, [40, 20])
    torch.testing.assert_close(actual, expected, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize(
    ("kind", "quant"),
    [
        ("nf4", "nf4"),
        ("nf4 twice", "nf4"),
        ("fp4", "nf4"),
        ("int8", "int8"),
        ("fp8 channel", "fp8"),
        ("fp8 tensor", "fp8"),
        ("fine-grained", "fp8"),
    ],
)
def test_in_their_own_kind(tmp_path: Path, kind: str, quant: QuantFormat) -> None:
    reference = stored_model(tmp_path, kind)
    meant = logits(reference)
    serve_in(reference, quant)
    config = resolved(tmp_path, num_blocks=NUM_BLOCKS)
    assert config.model.quant == quant and config.model.quant_exclude == ("lm_head",)
    actual = logits_in_chunks(config, TOKENS, [40, 20])
    assert relative_error(actual, logits(reference)) < (0.02 if quant == "fp8" else 1e-4)
    if kind.startswith(("nf4", "int8")):
        assert relative_error(actual, meant) < 1e-3, "rounded to what they were"


def test_modules_that_a_checkpoint_leaves_out_stay_as_they_are(tmp_path: Path) -> None:
    expected = logits(stored_model(tmp_path, "nf4", spared=(DOWN, "model.layers.0.mlp.up_proj")))
    config = resolved(tmp_path, num_blocks=NUM_BLOCKS)
    left_out = tuple(f"model.layers.0.mlp.{name}_proj" for name in ("gate", "up"))
    assert config.model.quant_exclude == (*left_out, DOWN, "lm_head")
    torch.testing.assert_close(logits_in_chunks(config, TOKENS, [40, 20]), expected, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("quant", ["int8", "int4", "fp8", "nf4"])
def test_everything_excluded_is_the_model_itself(tmp_path: Path, quant: QuantFormat) -> None:
    write_tiny_llama(tmp_path, hidden_size=128)
    plain = resolved(tmp_path, num_blocks=NUM_BLOCKS, dtype="bfloat16")
    excluded = resolved(tmp_path, num_blocks=NUM_BLOCKS, dtype="bfloat16", quant=quant, quant_exclude=("*",))
    assert torch.equal(logits_in_chunks(excluded, TOKENS, [60]), logits_in_chunks(plain, TOKENS, [60]))


@pytest.mark.parametrize("quant", ["int8", "nf4"])
def test_some_excluded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quant: QuantFormat) -> None:
    """Native layers whose matrices are of several formats compute what torch computes, and not what others do."""
    write_tiny_llama(tmp_path, hidden_size=128)
    patterns = ("model.layers.0.*", "*.down_proj")
    config = resolved(tmp_path, num_blocks=NUM_BLOCKS, dtype="bfloat16", quant=quant, quant_exclude=patterns)
    everything = resolved(tmp_path, num_blocks=NUM_BLOCKS, dtype="bfloat16", quant=quant)
    actual, other = (logits_in_chunks(each, TOKENS, [60]) for each in (config, everything))
    monkeypatch.setattr(loading_rank, "choose_kernels", lambda *_: QuantisedTorchKernels(quant))
    expected = logits_in_chunks(config, TOKENS, [60])
    assert relative_error(actual, expected) < 0.03
    if quant == "nf4":
        assert relative_error(other, expected) > 0.05
