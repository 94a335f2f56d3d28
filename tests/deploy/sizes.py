"""For which machines each size is, and what its Serve file means there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster.serve_file import read_serve_file
from llama4coder.machine import Machine
from llama4coder.resolve import resolve
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import ModelShape
from tests.support.manifests import DEPLOY
from tests.support.shapes import LLAMA_70B, SMOLLM2

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Size:
    """A Serve file, the machine of its ranks, and how Kubernetes calls their GPUs."""

    file: str
    shape: ModelShape
    machine: Machine
    num_gpus: int = 0
    product: str | None = None
    planned: str | None = None  # the GPU's name for the planner


def _gpus(gib: int) -> Machine:
    return Machine("cuda", gib * GIB, num_cpus=192, computes_bfloat16=True)


SIZES: Mapping[str, Size] = {
    "cpu-demo": Size("embedded-cluster.yaml", SMOLLM2, Machine("cpu", 4 * GIB, num_cpus=2, computes_bfloat16=False)),
    "8xh200": Size("70b-8xh200.yaml", LLAMA_70B, _gpus(140), 8, "NVIDIA-H200", "H200"),
    "8xb200": Size("70b-8xb200.yaml", LLAMA_70B, _gpus(178), 8, "NVIDIA-B200", "B200"),
    "2x8xh100": Size("70b-2nodes-8.yaml", LLAMA_70B, _gpus(79), 16, "NVIDIA-H100-80GB-HBM3", "H100"),
}


def resolved(size: Size) -> ResolvedConfig:
    """The file's configuration on the machine that it is for."""
    config = read_serve_file(DEPLOY / "serve" / size.file, None, None).config
    return resolve(config, Path("/models/x"), size.shape, size.machine)
