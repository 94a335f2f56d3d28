"""What this machine offers; detection is here, every decision about it in `resolve`."""

import ctypes
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from llama4coder.config import Auto, Device

_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Machine:
    """The part of a machine that one rank may use."""

    device: Device
    memory_bytes: int  # free on the device that holds weights and KV, or all of it where nobody else may use it
    num_cpus: int
    computes_bfloat16: bool  # at least as fast as in float32
    host_memory_bytes: int = 0  # free beside a GPU's own; none on a CPU, where `memory_bytes` is all that there is


def detect_machine(device: Device | Auto = "auto", *, lends_gpus: bool = False) -> Machine:
    """Look at this machine for ranks on `device`; of a machine without a GPU it is the CPU that is told of.

    Where GPUs are lent (`lends_gpus`), each to one rank at a time, all memory of one counts, whoever has it now.
    """
    num_cpus = len(os.sched_getaffinity(0))
    looks_for_gpu = device != "cpu" and any(Path("/dev").glob("nvidia[0-9]*"))
    gpu = _detect_gpu(num_cpus, lends_gpus=lends_gpus) if looks_for_gpu else None
    if gpu is not None:
        return gpu
    return Machine(
        "cpu", _host_memory_bytes(), num_cpus, computes_bfloat16(cpu_flags(), has_compiler=bool(shutil.which("cc")))
    )


def computes_bfloat16(flags: frozenset[str], *, has_compiler: bool) -> bool:
    """Whether bfloat16 is the faster choice: in hardware, or by our own kernels, which widen it on AVX2."""
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"}) or (has_compiler and {"avx2", "fma", "f16c"} <= flags)


def available_memory_bytes(proc: Path, cgroup: Path) -> int:
    """What can still be allocated without swapping: the machine's or the container's limit, the smaller one."""
    meminfo = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines())
    available = int(meminfo["MemAvailable"].split()[0]) * 1024
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        current = int((cgroup / "memory.current").read_text()) - _idle_file_bytes(cgroup)
    except (OSError, ValueError):
        return available
    return available if limit == "max" else max(0, min(available, int(limit) - current))


def _idle_file_bytes(cgroup: Path) -> int:
    """Pages of files that have been read, weights for one: the container counts them, and gives them up when asked."""
    lines = (cgroup / "memory.stat").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)


def _detect_gpu(num_cpus: int, *, lends_gpus: bool) -> Machine | None:
    """The first GPU that this process may use; None if there is none, or torch was built without CUDA."""
    import torch  # costs a second; only machines with a GPU pay it

    if not torch.cuda.is_available():
        return None
    free_bytes, total_bytes = torch.cuda.mem_get_info()
    memory_bytes = total_bytes if lends_gpus else free_bytes
    computes_bfloat16 = torch.cuda.get_device_capability() >= (8, 0)
    return Machine("cuda", memory_bytes, num_cpus, computes_bfloat16, _host_memory_bytes())


def free_memory_bytes(device: Device) -> int:
    """What nobody has taken: of the GPU that this process uses, or of the machine, or its container."""
    if device == "cpu":
        return _host_memory_bytes()
    import torch

    free_bytes, _ = torch.cuda.mem_get_info()
    return free_bytes


def device_name(device: Device) -> str:
    """Of the GPU that this process uses, or of the processor, as their makers call them."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    return _cpu_line("model name") or platform.processor() or "CPU"


def _host_memory_bytes() -> int:
    return available_memory_bytes(Path("/proc"), Path("/sys/fs/cgroup"))


def cpu_flags(cpuinfo: Path = _CPUINFO) -> frozenset[str]:
    """What the processor can do, in the kernel's words; empty where the kernel does not tell."""
    return frozenset((_cpu_line("flags", cpuinfo) or _cpu_line("features", cpuinfo)).split())


def _cpu_line(name: str, cpuinfo: Path = _CPUINFO) -> str:
    """What the kernel says first by this name; empty where it does not."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.lower().startswith(name)), "")


def return_freed_memory() -> None:
    """Give back to the system what this process has freed, where the C library keeps it for later (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
