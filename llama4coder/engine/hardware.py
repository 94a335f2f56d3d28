"""What this machine computes with."""

import ctypes
import importlib.util
import logging
from collections.abc import Sequence

import torch

from llama4coder.config import KVFormat, QuantFormat
from llama4coder.engine.forward import EagerPass, ForwardPass
from llama4coder.engine.rank_state import RankState
from llama4coder.env import cache_dir
from llama4coder.errors import ConfigError
from llama4coder.gpu.graph_sizes import GraphSizes
from llama4coder.kv.tensors import LayerKV
from llama4coder.layers.kernels import Kernels, TorchKernels
from llama4coder.machine import cpu_flags
from llama4coder.models.llama import Llama
from llama4coder.models.weights import Placement
from llama4coder.native.draw import NativeDraw
from llama4coder.native.filter import NativeFilter
from llama4coder.native.kernels import NativeKernels
from llama4coder.native.library import load_library
from llama4coder.parallel.vocabulary import ShardedVocabulary
from llama4coder.quant.kernels import QuantisedTorchKernels
from llama4coder.sampling.draw import TokenDraw, TorchDraw
from llama4coder.sampling.filters import TorchFilter
from llama4coder.sampling.sampler import Sampler

_log = logging.getLogger(__name__)


def prepare_device(device: torch.device) -> None:
    """Let torch give back the memory between what stays, to be called before anything is allocated.

    Weights are read one by one and kept in another form: without this, what is kept lies scattered among what was read,
    in segments that can neither be used by the block pool nor given back.
    """
    if device.type == "cuda":
        torch._C._accelerator_setAllocatorSettings("expandable_segments:True")  # torch has no public name for it


def choose_kernels(
    placement: Placement,
    quant: QuantFormat,
    num_threads: int,
    kv_format: KVFormat = "dense",
    block_bounds: bool = False,
) -> Kernels:
    """The fastest set that this machine can run, on so many CPU threads, over KV of this format, with bounds or not.

    Raises:
        ConfigError: a format that only Triton computes, without Triton.
    """
    if placement.device.type == "cuda":
        return _choose_cuda_kernels(quant, kv_format, block_bounds)
    if quant in ("fp8", "nf4"):
        _log.warning("model.quant %s is emulated on CPUs: the same numbers, not the speed", quant)
    library = _native_library(placement, num_threads)
    if library is not None:
        return NativeKernels(library, quant, kv_format)
    return TorchKernels(kv_format) if quant == "none" else QuantisedTorchKernels(quant, kv_format)


def _choose_cuda_kernels(quant: QuantFormat, kv_format: KVFormat, block_bounds: bool) -> Kernels:
    if _has_triton():
        from llama4coder.gpu.kernels import GpuKernels, GpuQuant

        gpu_quant = {"none": GpuQuant.NONE, "fp8": GpuQuant.FP8, "nf4": GpuQuant.NF4}[quant]
        return GpuKernels(gpu_quant, kv_format, block_bounds)
    if quant != "none":
        raise ConfigError(f"model.quant {quant} needs the package triton: install llama4coder[gpu]")
    _log.warning("the GPU computes with torch's kernels, which are slower: triton is not installed (llama4coder[gpu])")
    return TorchKernels(kv_format)


def choose_sampler(placement: Placement, num_threads: int, vocabulary: ShardedVocabulary) -> Sampler:
    """The fastest way to choose tokens where the logits are."""
    if placement.device.type == "cuda":
        return Sampler(TorchFilter(num_candidates=None), _choose_cuda_draw(), vocabulary)
    library = load_library(cache_dir(), cpu_flags(), num_threads)
    if library is None:
        return Sampler(TorchFilter(), TorchDraw(), vocabulary)
    return Sampler(NativeFilter(library), NativeDraw(library), vocabulary)


def _choose_cuda_draw() -> TokenDraw:
    if not _has_triton():
        return TorchDraw()
    from llama4coder.gpu.draw import TritonDraw

    return TritonDraw()


def choose_forward(model: Llama, kv: Sequence[LayerKV], state: RankState, sizes: GraphSizes) -> ForwardPass:
    """Graphs of these sizes where the model's kernels can be recorded, else kernel by kernel."""
    eager = EagerPass(model, kv, state)
    if state.device.type != "cuda" or not _has_triton():
        return eager
    from llama4coder.engine.graph_pass import GraphPass
    from llama4coder.gpu.attention import PagedAttention
    from llama4coder.gpu.graphs import CudaRecorder

    if not isinstance(model.attention, PagedAttention):
        _log.warning("no CUDA graphs: the attention of this model cannot be recorded")
        return eager
    return GraphPass.record(eager, model.attention, sizes, CudaRecorder())


def _native_library(placement: Placement, num_threads: int) -> ctypes.CDLL | None:
    if placement.device.type != "cpu" or placement.dtype != torch.bfloat16:
        return None
    return load_library(cache_dir(), cpu_flags(), num_threads)


def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None
