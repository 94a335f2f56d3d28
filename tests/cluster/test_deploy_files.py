"""The Serve config files that come along, resolved for the machines that they are made for."""

import logging
from pathlib import Path

import pytest

from cluster.placement import target_placement
from cluster.room import shortage
from cluster.serve_file import read_serve_file
from llama4coder.machine import Machine
from llama4coder.planner.candidate import Wish
from llama4coder.planner.gpus import find_gpu
from llama4coder.planner.plan import make_plan
from llama4coder.planner.question import Hardware
from llama4coder.resolve import resolve
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import ModelShape
from tests.planner.questions import question
from tests.support.nodes import node_of
from tests.support.shapes import LLAMA_70B, SMOLLM2

_log = logging.getLogger(__name__)  # told with `pytest --log-cli-level=INFO`

FOLDER = Path(__file__).parents[2] / "deploy" / "serve"
GB, GIB = 10**9, 2**30
A100 = Machine("cuda", 79 * GIB, num_cpus=128, computes_bfloat16=True)  # 80 GB as CUDA reports it free
H200 = Machine("cuda", 139 * GIB, num_cpus=192, computes_bfloat16=True)
B200 = Machine("cuda", 178 * GIB, num_cpus=192, computes_bfloat16=True)
LAPTOP = Machine("cpu", 8 * GIB, num_cpus=2, computes_bfloat16=False)


def resolved(file: str, shape: ModelShape, machine: Machine) -> ResolvedConfig:
    return resolve(read_serve_file(FOLDER / file, None, None).config, Path("/models/x"), shape, machine)


@pytest.mark.parametrize(
    ("file", "machine", "layout", "weight_gb", "min_tokens"),
    [
        ("70b-8x80gb.yaml", A100, (8, 1), 17.6, 1_200_000),
        ("70b-4xh200.yaml", H200, (4, 1), 35.3, 1_100_000),
        ("70b-2nodes-8.yaml", A100, (8, 2), 9.6, 2_700_000),
        ("70b-8xh200.yaml", H200, (2, 1), 35.8, 1_100_000),
        ("70b-8xb200.yaml", B200, (2, 1), 35.8, 1_500_000),
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
        ("70b-8xh200.yaml", LLAMA_70B, H200, 1),
        ("70b-8xb200.yaml", LLAMA_70B, B200, 1),
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


@pytest.mark.parametrize(
    ("file", "gpu", "num_nodes"),
    [
        ("70b-4xh200.yaml", "H200", 1),
        ("70b-8x80gb.yaml", "H100", 1),
        ("70b-8xh200.yaml", "H200", 1),
        ("70b-8xb200.yaml", "B200", 1),
        ("70b-2nodes-8.yaml", "H100", 2),
    ],
)
def test_what_a_file_asks_for_is_what_a_plan_says_fits(file: str, gpu: str, num_nodes: int) -> None:
    """Block for block, on the planner's own kind of GPU, which has more memory than a machine reports as free."""
    kind = find_gpu(gpu)
    config = resolved(file, LLAMA_70B, Machine("cuda", kind.memory_bytes, num_cpus=192, computes_bfloat16=True))
    wish = Wish(
        ranks=config.engine.ranks,
        quant=config.model.quant,
        kv_format=config.engine.kv_format,
        context_length=config.model.context_length,
        max_sequences=config.engine.max_sequences,
        max_step_tokens=config.engine.max_step_tokens,
        max_draft_tokens=config.speculation.most_draft_tokens,
    )
    plan = make_plan(question("llama-3.3-70b", gpu, wish, hardware=Hardware.of(kind, 8, num_nodes)))
    assert plan.fit.num_blocks == config.engine.num_blocks
    assert (plan.fit.candidate.layout.heads_shards, plan.fit.candidate.layout.kv_shards) == (
        config.engine.heads_shards,
        config.engine.kv_shards,
    )
    num_drafts = config.speculation.pool.max_replicas if config.speculation.method == "pool" else 0
    assert config.target_replicas * config.engine.ranks + num_drafts <= 8 * num_nodes
