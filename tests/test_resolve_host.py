"""How much host memory a rank takes, and what is refused with numbers."""

from dataclasses import replace
from pathlib import Path

import pytest

from llama4coder.config import DeploymentConfig, EngineConfig, ModelConfig
from llama4coder.errors import ConfigError, NotEnoughMemory
from llama4coder.kv.sizing import kv_bytes_per_block
from llama4coder.machine import Machine
from llama4coder.parallel.plan import RankPlan
from llama4coder.resolve import resolve
from llama4coder.resolved import ResolvedEngine
from tests.support.shapes import LLAMA_8B

GIB = 2**30
LAPTOP = Machine("cpu", 64 * GIB, num_cpus=8, computes_bfloat16=True)
NODE = Machine("cuda", 80 * GIB, num_cpus=64, computes_bfloat16=True, host_memory_bytes=1000 * GIB)
BLOCK_BYTES = kv_bytes_per_block(RankPlan.alone(LLAMA_8B), "bfloat16")


def engine(machine: Machine, *, target_replicas: int = 1, **settings: object) -> ResolvedEngine:
    config = DeploymentConfig(
        model=ModelConfig(context_length=8192),
        engine=EngineConfig(kv_memory_bytes=16 * GIB, **settings),
        target_replicas=target_replicas,
    )
    return resolve(config, Path("/models/coder-8b"), LLAMA_8B, machine).engine


def test_auto_is_nothing_on_a_cpu_and_bounded_beside_a_gpu() -> None:
    assert engine(LAPTOP).num_host_blocks == 0
    alone = engine(NODE)
    assert (alone.num_host_blocks, alone.host_bytes_per_rank) == (32 * GIB // BLOCK_BYTES, 32 * GIB)
    crowded = engine(NODE, ranks=8, target_replicas=4)
    assert crowded.host_bytes_per_rank == pytest.approx(1000 * GIB / 2 / 32, rel=0.001)
    assert engine(NODE, prefix_caching=False).num_host_blocks == 0


@pytest.mark.parametrize("machine", [LAPTOP, NODE])
def test_what_the_operator_says_becomes_slots_of_each_shard(machine: Machine) -> None:
    assert engine(machine, host_memory_bytes=GIB).num_host_blocks == GIB // BLOCK_BYTES
    striped = engine(machine, host_memory_bytes=GIB, ranks=2, kv_shards=2)
    assert (striped.num_host_blocks, striped.host_bytes_per_rank) == (GIB // BLOCK_BYTES, GIB)
    split = engine(machine, host_memory_bytes=GIB, ranks=2)
    assert split.num_host_blocks == 2 * GIB // BLOCK_BYTES
    assert engine(machine, host_memory_bytes=0).num_host_blocks == 0


def test_on_a_cpu_it_is_what_blocks_leave_and_on_a_node_what_ranks_share() -> None:
    with pytest.raises(NotEnoughMemory, match=r"host_memory_bytes \(40\.00 GiB\) is more than the 31\.5. GiB"):
        engine(LAPTOP, host_memory_bytes=40 * GIB)
    assert engine(NODE, host_memory_bytes=900 * GIB).num_host_blocks > 0
    with pytest.raises(NotEnoughMemory, match=r"200\.00 GiB\) is more than the 125\.00 GiB that each rank's part"):
        engine(NODE, host_memory_bytes=200 * GIB, ranks=8)
    with pytest.raises(NotEnoughMemory, match=r"more than the 0\.00 GiB"):
        engine(replace(NODE, host_memory_bytes=0), host_memory_bytes=GIB)


def test_less_than_a_block_is_refused() -> None:
    with pytest.raises(NotEnoughMemory, match=rf"\({BLOCK_BYTES - 1}\) cannot hold one block of {BLOCK_BYTES} bytes"):
        engine(NODE, host_memory_bytes=BLOCK_BYTES - 1)


def test_blocks_without_names_cannot_be_kept() -> None:
    with pytest.raises(ConfigError, match="prefix_caching is false"):
        engine(NODE, host_memory_bytes=GIB, prefix_caching=False)
    assert engine(NODE, host_memory_bytes=0, prefix_caching=False).num_host_blocks == 0
