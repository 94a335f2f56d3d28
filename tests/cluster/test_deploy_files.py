"""The Serve config files that come along, resolved for the machines that they are made for."""

import logging
from pathlib import Path

import pytest

from cluster.placement import target_placement
from cluster.room import shortage
from cluster.serve_file import read_serve_file
from llama4coder.config import ResolvedConfig
from llama4coder.machine import Machine
from llama4coder.resolve import resolve
from llama4coder.shape import ModelShape
from tests.support.nodes import node_of
from tests.support.shapes import LLAMA_70B, SMOLLM2

_log = logging.getLogger(__name__)  # told with `pytest --log-cli-level=INFO`

FOLDER = Path(__file__).parents[2] / "deploy" / "serve"
GB, GIB = 10**9, 2**30
A100 = Machine("cuda", 79 * GIB, num_cpus=128, computes_bfloat16=True)  # 80 GB as CUDA reports it free
H200 = Machine("cuda", 139 * GIB, num_cpus=192, computes_bfloat16=True)
LAPTOP = Machine("cpu", 8 * GIB, num_cpus=2, computes_bfloat16=False)


def resolved(file: str, shape: ModelShape, machine: Machine) -> ResolvedConfig:
    return resolve(read_serve_file(FOLDER / file, None, None).config, Path("/models/x"), shape, machine)


@pytest.mark.parametrize(
    ("file", "machine", "layout", "weight_gb", "min_tokens"),
    [
        ("70b-8x80gb.yaml", A100, (8, 1), 17.6, 1_200_000),
        ("70b-4xh200.yaml", H200, (4, 1), 35.3, 1_100_000),
        ("70b-2nodes-8.yaml", A100, (8, 2), 9.6, 2_700_000),
    ],
)
def test_70b_fits_each_rank(
    file: str, machine: Machine, layout: tuple[int, int], weight_gb: float, min_tokens: int
) -> None:
    engine = resolved(file, LLAMA_70B, machine).engine
    num_tokens = engine.num_blocks * engine.block_size * engine.kv_shards
    _log.info(
        "%s: %d x %d ranks, each %.2f GB of weights and %.2f GB of KV, for %d tokens in all",
        *(file, engine.heads_shards, engine.kv_shards),
        *(engine.weight_bytes_per_rank / GB, engine.kv_bytes_per_rank / GB, num_tokens),
    )
    assert (engine.heads_shards, engine.kv_shards) == layout
    assert engine.weight_bytes_per_rank == pytest.approx(weight_gb * GB, rel=0.01)
    assert engine.weight_bytes_per_rank + engine.kv_bytes_per_rank < machine.memory_bytes - 3 * GIB
    assert num_tokens > min_tokens


def test_the_embedded_model_on_two_ranks_stripes_its_blocks() -> None:
    engine = resolved("embedded-cpu-tp2.yaml", SMOLLM2, LAPTOP).engine
    assert (engine.heads_shards, engine.kv_shards, engine.num_threads) == (1, 2, 1)
    assert engine.num_blocks * engine.block_size * 2 >= 8192


@pytest.mark.parametrize(
    ("file", "shape", "machine", "num_nodes"),
    [
        ("70b-8x80gb.yaml", LLAMA_70B, A100, 1),
        ("70b-4xh200.yaml", LLAMA_70B, H200, 1),
        ("70b-2nodes-8.yaml", LLAMA_70B, A100, 2),
        ("embedded-cpu-tp2.yaml", SMOLLM2, LAPTOP, 1),
        ("embedded-cpu.yaml", SMOLLM2, LAPTOP, 1),
        ("embedded-cpu-pool.yaml", SMOLLM2, LAPTOP, 1),
    ],
)
def test_there_is_room_on_the_nodes_that_a_file_is_for(
    file: str, shape: ModelShape, machine: Machine, num_nodes: int
) -> None:
    placement = target_placement(resolved(file, shape, machine))
    resources = {"CPU": float(machine.num_cpus)} | ({"GPU": 8.0} if machine.device == "cuda" else {})
    nodes = [node_of(f"10.0.0.{number}", resources, pool="target") for number in range(num_nodes)]
    assert shortage(placement, 1, nodes) is None
    assert shortage(placement, 1, nodes[1:]) is not None
