"""The draft model's settings become values, and what cannot work is refused with what to change."""

from dataclasses import replace
from pathlib import Path

import pytest

from llama4coder.config import DraftConfig, SpeculationConfig
from llama4coder.errors import ConfigError, NotEnoughMemory
from llama4coder.kv.sizing import kv_bytes_per_block, weight_bytes
from llama4coder.machine import Machine
from llama4coder.parallel.plan import RankPlan
from llama4coder.resolve_draft import resolve_draft
from tests.support.shapes import LLAMA_8B

GIB = 2**30
PLAN = RankPlan.alone(LLAMA_8B)
LAPTOP = Machine("cpu", 64 * GIB, num_cpus=8, computes_bfloat16=True)
FOLDER = Path("/models/coder-8b")


def test_auto_takes_what_machine_and_model_offer() -> None:
    config = resolve_draft(SpeculationConfig(draft=DraftConfig(quant="int4")), FOLDER, LLAMA_8B, LAPTOP, 3)
    assert (config.path, config.dtype, config.device, config.num_threads) == (str(FOLDER), "bfloat16", "cpu", 3)
    assert config.weight_bytes == weight_bytes(PLAN, "bfloat16", "int4")
    assert config.num_blocks * 16 >= 4 * config.window_tokens == 4 * 2048
    assert config.memory_bytes == config.weight_bytes + config.kv_bytes


def test_what_the_operator_says_wins() -> None:
    draft = DraftConfig(dtype="float32", kv_memory_bytes=32 * GIB, num_threads=2, window_tokens=200_000)
    config = resolve_draft(SpeculationConfig(draft=draft), FOLDER, LLAMA_8B, LAPTOP, 3)
    assert (config.dtype, config.num_threads) == ("float32", 2)
    assert config.window_tokens == LLAMA_8B.max_position
    assert config.num_blocks == 32 * GIB // kv_bytes_per_block(PLAN, "float32")


@pytest.mark.parametrize(
    ("draft", "machine", "advice"),
    [
        ({"window_tokens": 64}, LAPTOP, "needs 68"),
        ({"kv_memory_bytes": 2**20}, LAPTOP, "lower speculation.draft.window_tokens"),
        ({}, Machine("cpu", GIB, 8, True), "take a smaller model"),
        ({"quant": "int4"}, replace(LAPTOP, device="cuda"), "speculation.draft.quant int4"),
    ],
)
def test_what_cannot_work_is_refused(draft: dict[str, object], machine: Machine, advice: str) -> None:
    with pytest.raises((ConfigError, NotEnoughMemory), match=advice):
        resolve_draft(SpeculationConfig(draft=DraftConfig(**draft)), FOLDER, LLAMA_8B, machine, 1)
