"""What a rank takes at most while it loads a quantised checkpoint: its share of the weights, and little more."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from llama4coder.checkpoint.stored_quant import ABSMAX
from llama4coder.config import QuantFormat
from llama4coder.engine.hardware import choose_kernels
from llama4coder.engine.memory_meter import ResidentMemory
from llama4coder.kv.sizing import weight_bytes
from llama4coder.models import stored
from llama4coder.models.loader import load_llama
from llama4coder.models.weights import Placement
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.parallel.plan import RankPlan
from llama4coder.progress import NullProgress
from llama4coder.quant import formats
from llama4coder.quant.formats import Fp8Weights, Nf4Weights
from tests.support.shapes import TINY
from tests.support.stored import BNB4, compressed, configure
from tests.support.thread_group import make_shares

SHAPE = replace(
    TINY, vocab_size=512, hidden_size=1024, intermediate_size=2816, num_layers=24, num_heads=16, head_dim=64
)
SHAPE = replace(SHAPE, num_kv_heads=8)


SLACK_BYTES = 32 * 2**20  # of the allocator, however large the model


def write(folder: Path, quant: QuantFormat) -> None:
    """Every layer the same, so that it does not take long."""
    (folder / "config.json").write_text("{}")
    configure(folder, quantization_config=BNB4 if quant == "nf4" else compressed("channel"))
    wide, hidden = SHAPE.intermediate_size, SHAPE.hidden_size
    sizes = {f"self_attn.{name}_proj": (rows, hidden) for name, rows in (("q", hidden), ("k", 512), ("v", 512))}
    sizes |= {"self_attn.o_proj": (hidden, hidden), "mlp.down_proj": (hidden, wide)}
    sizes |= {f"mlp.{name}_proj": (wide, hidden) for name in ("gate", "up")}
    tensors = {"model.norm.weight": torch.ones(hidden)}
    tensors |= {name: torch.randn(512, hidden) for name in ("lm_head.weight", "model.embed_tokens.weight")}
    layer_tensors: dict[str, torch.Tensor] = {}
    for name, size in sizes.items():
        layer_tensors |= quantised(name, torch.randn(size), quant)
    for layer in range(SHAPE.num_layers):
        tensors |= {f"model.layers.{layer}.{name}": tensor.clone() for name, tensor in layer_tensors.items()}
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"model.layers.{layer}.{name}.weight"] = torch.ones(hidden)
    save_file(tensors, folder / "model.safetensors")


def quantised(module: str, weight: torch.Tensor, quant: QuantFormat) -> dict[str, torch.Tensor]:
    if quant == "fp8":
        fp8 = Fp8Weights.of(weight)
        return {f"{module}.weight": fp8.values, f"{module}.weight_scale": fp8.scales}
    nf4 = Nf4Weights.of(weight)
    state = f'{{"blocksize": 64, "shape": [{weight.shape[0]}, {weight.shape[1]}]}}'.encode()
    return {
        f"{module}.weight": nf4.nibbles,
        module + ABSMAX: nf4.largest,
        f"{module}.weight.quant_map": torch.tensor(formats.NF4_LEVELS),
        f"{module}.weight.quant_state.bitsandbytes__nf4": torch.tensor(list(state), dtype=torch.uint8),
    }


def peak_bytes(folder: Path, quant: QuantFormat) -> int:
    """Of loading the second of two ranks, in a process that has done nothing else."""
    torch.set_num_threads(1)
    stored._WEIGHTS_AT_ONCE = formats._WEIGHTS_AT_ONCE = 2**18  # as small beside this model as it is beside real ones
    share = make_shares(SHAPE, ParallelLayout(2, 1))[1]
    placement = Placement.of("bfloat16", "cpu", ("lm_head",))
    kernels = choose_kernels(placement, quant, 1)
    meter = ResidentMemory()
    for _ in range(2):  # the first time brings code into memory as well
        before_bytes = meter.now_bytes()
        meter.restart_peak()
        load_llama(folder, share, 64, kernels, placement, NullProgress())
    return meter.peak_bytes() - before_bytes


@pytest.mark.slow
@pytest.mark.parametrize("quant", ["fp8", "nf4"])
def test_the_peak_is_little_more_than_the_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quant: QuantFormat
) -> None:
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", str(2**20))  # as memory of larger matrices is taken and given back
    write(tmp_path, quant)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        peak = pool.submit(peak_bytes, tmp_path, quant).result()
    plan = RankPlan(SHAPE, ParallelLayout(2, 1), 1)
    share_bytes = weight_bytes(plan, "bfloat16", quant)
    assert 0.9 * share_bytes < peak < 1.1 * share_bytes + SLACK_BYTES, (peak / 2**20, share_bytes / 2**20)
