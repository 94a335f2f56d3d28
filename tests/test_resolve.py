"""Every `auto` becomes a value, and what cannot work is refused with what to change."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from llama4coder.config import (
    DeploymentConfig,
    Device,
    EngineConfig,
    KVFormat,
    ModelConfig,
    PlacementConfig,
    QuantFormat,
    ServerConfig,
)
from llama4coder.errors import ConfigError, NotEnoughMemory
from llama4coder.kv.sizing import kv_bytes_per_block, weight_bytes
from llama4coder.machine import Machine
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.parallel.plan import RankPlan
from llama4coder.resolve import resolve
from tests.support.shapes import LLAMA_8B

GIB = 2**30
NORM_BYTES = 65 * 4096 * 2
WHOLE = RankPlan.alone(LLAMA_8B)
LAPTOP = Machine("cpu", 64 * GIB, num_cpus=8, computes_bfloat16=True)
FOLDER = Path("/models/coder-8b")


def test_published_sizes() -> None:
    assert weight_bytes(WHOLE, "bfloat16") == pytest.approx(16.06e9, rel=0.001)
    assert kv_bytes_per_block(WHOLE, "bfloat16") == 16 * 131072


def test_auto_takes_what_machine_and_model_offer() -> None:
    config = resolve(DeploymentConfig(model=ModelConfig(path=str(FOLDER))), FOLDER, LLAMA_8B, LAPTOP)
    assert config.model.name == "coder-8b"
    assert (config.model.dtype, config.model.context_length) == ("bfloat16", 131072)
    assert (config.engine.device, config.engine.num_threads) == ("cpu", 8)
    assert config.engine.num_blocks * 16 >= 131072
    short = DeploymentConfig(model=ModelConfig(context_length=4096))
    older = resolve(short, FOLDER, LLAMA_8B, replace(LAPTOP, computes_bfloat16=False))
    assert older.model.dtype == "float32"


def test_limits_of_keys_are_divided_among_ingresses() -> None:
    config = DeploymentConfig(model=ModelConfig(path=str(FOLDER)), ingress_replicas=3)
    assert resolve(config, FOLDER, LLAMA_8B, LAPTOP).server.limits_divided_by == 3
    chosen = config.model_copy(update={"server": ServerConfig(limits_divided_by=2)})
    assert resolve(chosen, FOLDER, LLAMA_8B, LAPTOP).server.limits_divided_by == 2


def test_what_the_operator_says_wins() -> None:
    config = DeploymentConfig(
        model=ModelConfig(name="coder", dtype="float16", context_length=2048),
        engine=EngineConfig(kv_memory_bytes=GIB, num_threads=3),
    )
    resolved = resolve(config, FOLDER, LLAMA_8B, LAPTOP)
    assert (resolved.model.name, resolved.model.dtype, resolved.model.context_length) == ("coder", "float16", 2048)
    assert resolved.engine.num_blocks == GIB // kv_bytes_per_block(WHOLE, "float16")
    assert resolved.engine.num_threads == 3


@pytest.mark.parametrize(
    ("engine", "top_blocks", "block_bounds"),
    [({}, None, False), ({"block_bounds": True}, None, True), ({"top_blocks": 64}, 64, True)],
)
def test_bounds_of_blocks_are_kept_where_somebody_may_need_them(
    engine: dict[str, object], top_blocks: int | None, block_bounds: bool
) -> None:
    settings = EngineConfig(kv_memory_bytes=20 * GIB, **engine)
    resolved = resolve(DeploymentConfig(engine=settings), FOLDER, LLAMA_8B, LAPTOP).engine
    assert (resolved.top_blocks, resolved.block_bounds) == (top_blocks, block_bounds)
    sixteenths = 17 if block_bounds else 16
    assert resolved.num_blocks == 20 * GIB // (sixteenths * kv_bytes_per_block(WHOLE, "bfloat16") // 16)


@pytest.mark.parametrize("top_blocks", [3, 0, -1])
def test_so_few_blocks_that_there_is_nothing_to_choose(top_blocks: int) -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 4"):
        EngineConfig(top_blocks=top_blocks)


def test_the_embedded_model_has_a_name_without_its_hash() -> None:
    folder = Path("/cache/models/smollm2-135m-instruct-0123456789")
    config = resolve(DeploymentConfig(model=ModelConfig(context_length=2048)), folder, LLAMA_8B, LAPTOP)
    assert config.model.name == "smollm2-135m-instruct"


@pytest.mark.parametrize(
    ("model", "engine", "machine", "advice"),
    [
        ({}, {}, replace(LAPTOP, memory_bytes=20 * GIB), r"it would fit with model\.context_length 29056$"),
        ({}, {}, replace(LAPTOP, memory_bytes=8 * GIB), "free memory"),
        ({}, {"kv_memory_bytes": GIB}, LAPTOP, r"raise it, or it would fit with model\.context_length 8192"),
        (
            {"context_length": 2048},
            {"kv_memory_bytes": 60 * GIB},
            LAPTOP,
            "is too much: of the 64.00 GiB that a rank may take, 47.5",
        ),
        ({"context_length": 2048}, {"memory_budget": 80 * GIB}, LAPTOP, "more than the 64.00 GiB that a rank has here"),
        ({"context_length": 2048}, {"memory_budget": 0.2}, LAPTOP, "of the 12.80 GiB that a rank may take, 0.00 GiB"),
    ],
)
def test_too_little_memory_is_refused_with_numbers(
    model: dict[str, int], engine: dict[str, float], machine: Machine, advice: str
) -> None:
    config = DeploymentConfig(model=ModelConfig(**model), engine=EngineConfig(**engine))
    with pytest.raises(NotEnoughMemory, match=advice) as caught:
        resolve(config, FOLDER, LLAMA_8B, machine)
    assert "GiB" in str(caught.value)


def test_combinations_that_cannot_work() -> None:
    with pytest.raises(ConfigError, match="max_step_tokens"):
        resolve(DeploymentConfig(engine=EngineConfig(max_sequences=64, max_step_tokens=32)), FOLDER, LLAMA_8B, LAPTOP)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"engine\.device is cuda, and there is no GPU that torch can use"):
        resolve(DeploymentConfig(engine=EngineConfig(device="cuda")), FOLDER, LLAMA_8B, LAPTOP)


def test_quantised_weights_take_their_bytes_and_those_of_their_scales() -> None:
    matrices = 32 * (4096 * (4096 + 2048) + 4096 * 4096 + 4096 * 28672 + 14336 * 4096)
    head, table_bytes = 128256 * 4096, 2 * 128256 * 4096
    assert weight_bytes(WHOLE, "bfloat16", "int4") == matrices * 5 // 8 + head + 4 * 128256 + table_bytes + NORM_BYTES
    outputs = 32 * (6144 + 4096 + 28672 + 4096) + 128256
    assert weight_bytes(WHOLE, "bfloat16", "int8") == matrices + head + 4 * outputs + table_bytes + NORM_BYTES
    tied = replace(LLAMA_8B, tied_embeddings=True)
    assert (
        weight_bytes(WHOLE, "bfloat16", "int8") - weight_bytes(RankPlan.alone(tied), "bfloat16", "int8") == table_bytes
    )


def test_fewer_bits_leave_more_memory_for_kv() -> None:
    machine = replace(LAPTOP, memory_bytes=20 * GIB)
    with pytest.raises(NotEnoughMemory):
        resolve(DeploymentConfig(), FOLDER, LLAMA_8B, machine)
    resolved = resolve(
        DeploymentConfig(model=ModelConfig(quant="int4", context_length=8192)), FOLDER, LLAMA_8B, machine
    )
    assert resolved.model.quant == "int4"


def test_quantised_weights_meet_activations_in_bfloat16() -> None:
    older = replace(LAPTOP, computes_bfloat16=False)
    quantised = DeploymentConfig(model=ModelConfig(quant="int8", context_length=2048))
    assert resolve(quantised, FOLDER, LLAMA_8B, older).model.dtype == "bfloat16"


@pytest.mark.parametrize("quant", ["int8", "int4"])
@pytest.mark.parametrize("machine", ["cpu", "cuda"])
def test_integers_are_for_cpus(quant: QuantFormat, machine: Device) -> None:
    config = DeploymentConfig(model=ModelConfig(quant=quant), engine=EngineConfig(device="cuda"))
    with pytest.raises(ConfigError, match=r"use fp8 or nf4, set it to none, or engine\.device to cpu"):
        resolve(config, FOLDER, LLAMA_8B, replace(LAPTOP, device=machine))


@pytest.mark.parametrize("quant", ["fp8", "nf4"])
def test_cpus_emulate_what_gpus_compute(quant: QuantFormat) -> None:
    config = DeploymentConfig(model=ModelConfig(quant=quant, context_length=2048))
    emulated = resolve(config, FOLDER, LLAMA_8B, LAPTOP)
    native = resolve(DeploymentConfig(model=ModelConfig(quant="int8", context_length=2048)), FOLDER, LLAMA_8B, LAPTOP)
    assert emulated.model.quant == quant and emulated.model.dtype == "bfloat16"
    assert emulated.engine.other_bytes_per_rank > native.engine.other_bytes_per_rank + 48 * 2**20, "widened weights"


@pytest.mark.parametrize("has_biases", [False, True])
@pytest.mark.parametrize("kv_format", get_args(KVFormat))
def test_fp8_is_refused_for_keys_with_biases(kv_format: KVFormat, has_biases: bool) -> None:
    config = DeploymentConfig(engine=EngineConfig(kv_format=kv_format))
    shape = replace(LLAMA_8B, qkv_bias=has_biases)
    if kv_format == "fp8" and has_biases:
        with pytest.raises(ConfigError, match="choose int8, or int4"):
            resolve(config, FOLDER, shape, replace(LAPTOP, memory_bytes=140 * GIB))
    else:
        assert resolve(config, FOLDER, shape, replace(LAPTOP, memory_bytes=140 * GIB)).engine.kv_format == kv_format


@pytest.mark.parametrize(
    ("budget", "limit_bytes"), [("auto", int(0.9 * 140 * GIB)), (0.5, 70 * GIB), (1.0, 140 * GIB), (60 * GIB, 60 * GIB)]
)
def test_a_pool_takes_what_is_left_under_the_budget(budget: float | str, limit_bytes: int) -> None:
    machine = replace(LAPTOP, device="cuda", memory_bytes=140 * GIB)
    wanted = DeploymentConfig(model=ModelConfig(quant="fp8"), engine=EngineConfig(memory_budget=budget))
    engine = resolve(wanted, FOLDER, LLAMA_8B, machine).engine
    assert engine.memory_budget_bytes == limit_bytes and engine.kv_memory_bytes is None
    assert engine.weight_bytes_per_rank == weight_bytes(WHOLE, "bfloat16", "fp8")
    left_bytes = limit_bytes - engine.weight_bytes_per_rank - engine.other_bytes_per_rank
    assert engine.num_blocks == left_bytes // kv_bytes_per_block(WHOLE, "bfloat16")


def test_a_budget_on_cpus_is_divided_among_the_ranks_of_a_machine() -> None:
    engine = EngineConfig(ranks=2, memory_budget=0.5)
    config = DeploymentConfig(model=ModelConfig(context_length=2048), engine=engine)
    resolved = resolve(config, FOLDER, LLAMA_8B, LAPTOP).engine
    assert resolved.memory_budget_bytes == 16 * GIB
    assert resolved.kv_bytes_per_rank > 4 * GIB, "all that is left, and not what suits a laptop"


@pytest.mark.parametrize("budget", [0, -1, 1.5, "half"])
def test_a_budget_is_a_fraction_or_bytes(budget: object) -> None:
    with pytest.raises(ValidationError):
        EngineConfig(memory_budget=budget)


def test_4_bits_on_a_gpu_have_a_scale_per_64_and_a_head_in_full() -> None:
    matrices = 32 * (4096 * (4096 + 2048) + 4096 * 4096 + 4096 * 28672 + 14336 * 4096)
    assert weight_bytes(WHOLE, "bfloat16", "nf4") == matrices // 2 + matrices // 16 + 2 * 2 * 128256 * 4096 + NORM_BYTES
    assert weight_bytes(WHOLE, "bfloat16", "fp8") == weight_bytes(WHOLE, "bfloat16", "int8")


def test_int4_is_refused_for_sizes_that_its_groups_do_not_divide() -> None:
    odd = replace(LLAMA_8B, intermediate_size=14340)
    with pytest.raises(ConfigError, match=r"4096, 14340: use int8"):
        resolve(DeploymentConfig(model=ModelConfig(quant="int4")), FOLDER, odd, LAPTOP)
    short = ModelConfig(quant="int8", context_length=2048)
    assert resolve(DeploymentConfig(model=short), FOLDER, odd, LAPTOP).model.quant == "int8"


def test_ranks_divide_weights_heads_and_cores() -> None:
    config = DeploymentConfig(model=ModelConfig(context_length=8192), engine=EngineConfig(ranks=4, kv_memory_bytes=GIB))
    engine = resolve(config, FOLDER, LLAMA_8B, LAPTOP).engine
    assert (engine.heads_shards, engine.kv_shards, engine.ranks) == (4, 1, 4)
    assert engine.num_threads == 2
    assert engine.num_blocks == 4 * GIB // kv_bytes_per_block(WHOLE, "bfloat16")
    assert engine.kv_bytes_per_rank == GIB
    assert engine.weight_bytes_per_rank == pytest.approx(weight_bytes(WHOLE, "bfloat16") / 4, rel=0.001)


def rank_bytes(layout: ParallelLayout, quant: QuantFormat) -> list[int]:
    plans = [RankPlan(LLAMA_8B, layout, rank) for rank in range(layout.num_ranks)]
    return [weight_bytes(plan, "bfloat16", quant) for plan in plans]


@pytest.mark.parametrize("quant", ["none", "int8", "int4", "nf4"])
def test_the_ranks_weights_add_up(quant: QuantFormat) -> None:
    """But for the scales of matrices whose inputs are split, which every rank has for all outputs."""
    whole = weight_bytes(WHOLE, "bfloat16", quant)
    assert whole <= sum(rank_bytes(ParallelLayout(8, 1), quant)) < 1.002 * whole


def test_ranks_that_hold_the_same_heads_project_them_each() -> None:
    twice = 2 * 32 * (4096 + 2048) * 4096
    assert sum(rank_bytes(ParallelLayout(4, 2), "none")) == weight_bytes(WHOLE, "bfloat16") + twice + 7 * NORM_BYTES


def test_beyond_its_kv_heads_a_model_stripes_blocks() -> None:
    gpu = replace(LAPTOP, device="cuda", memory_bytes=80 * GIB)
    engine = resolve(DeploymentConfig(engine=EngineConfig(ranks=16)), FOLDER, LLAMA_8B, gpu).engine
    assert (engine.heads_shards, engine.kv_shards) == (8, 2)
    least = EngineConfig(ranks=2, kv_shards=2, kv_memory_bytes=8192 * kv_bytes_per_block(WHOLE, "bfloat16") // 2)
    assert resolve(DeploymentConfig(engine=least), FOLDER, LLAMA_8B, LAPTOP).engine.num_blocks == 8192 // 2
    less = least.model_copy(update={"kv_memory_bytes": least.kv_memory_bytes - 1})
    with pytest.raises(NotEnoughMemory, match="raise it"):
        resolve(DeploymentConfig(engine=less), FOLDER, LLAMA_8B, LAPTOP)


def test_an_impossible_layout_is_refused_with_those_that_are_possible() -> None:
    config = DeploymentConfig(engine=EngineConfig(ranks=6, kv_shards=2))
    with pytest.raises(ConfigError, match=r"8 KV heads.*2 x 3, 1 x 6"):
        resolve(config, FOLDER, LLAMA_8B, LAPTOP)


def test_ranks_on_cpus_share_a_machines_memory_and_those_on_gpus_have_one_each() -> None:
    machine = replace(LAPTOP, memory_bytes=20 * GIB)
    model = ModelConfig(context_length=2048)
    apart = PlacementConfig(ranks_per_node=(1, 1, 1, 1))
    split = DeploymentConfig(model=model, engine=EngineConfig(ranks=4, kv_memory_bytes=2 * GIB))
    with pytest.raises(NotEnoughMemory, match=r"of the 5\.00 GiB that a rank may take, 0\.[0-9]+ GiB are left"):
        resolve(split, FOLDER, LLAMA_8B, machine)
    assert resolve(split.model_copy(update={"placement": apart}), FOLDER, LLAMA_8B, machine).engine.num_threads == 8
    assert resolve(split, FOLDER, LLAMA_8B, replace(machine, device="cuda")).engine.kv_bytes_per_rank == 2 * GIB


def test_ranks_per_node_must_add_up() -> None:
    config = DeploymentConfig(engine=EngineConfig(ranks=4), placement=PlacementConfig(ranks_per_node=(2, 1)))
    with pytest.raises(ConfigError, match=r"\[2, 1\] adds up to 3 ranks, engine\.ranks is 4"):
        resolve(config, FOLDER, LLAMA_8B, LAPTOP)


def test_groups_must_divide_the_part_of_a_rank() -> None:
    config = DeploymentConfig(model=ModelConfig(quant="int4", context_length=2048), engine=EngineConfig(ranks=1))
    odd = replace(LLAMA_8B, intermediate_size=14336 + 32)
    resolve(config, FOLDER, odd, LAPTOP)
    split = config.model_copy(update={"engine": EngineConfig(ranks=2)})
    with pytest.raises(ConfigError, match=r"a rank's matrices have .*7184"):
        resolve(split, FOLDER, odd, LAPTOP)


def test_a_pool_has_no_more_replicas_at_least_than_at_most() -> None:
    config = DeploymentConfig.model_validate({"speculation": {"pool": {"min_replicas": 3, "max_replicas": 2}}})
    with pytest.raises(ConfigError, match=r"min_replicas \(3\) is more than speculation.pool.max_replicas \(2\)"):
        resolve(config, FOLDER, LLAMA_8B, LAPTOP)
