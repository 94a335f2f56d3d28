"""Which kernels this machine computes with."""

import torch

from llama4coder.env import cache_dir
from llama4coder.layers.kernels import Kernels, TorchKernels
from llama4coder.machine import cpu_flags
from llama4coder.models.weights import Placement
from llama4coder.native.kernels import NativeKernels
from llama4coder.native.library import load_library


def choose_kernels(placement: Placement, num_threads: int) -> Kernels:
    """The fastest set that this machine can run, on so many CPU threads."""
    if placement.device.type == "cpu" and placement.dtype == torch.bfloat16:
        library = load_library(cache_dir(), cpu_flags(), num_threads)
        if library is not None:
            return NativeKernels(library)
    return TorchKernels()
