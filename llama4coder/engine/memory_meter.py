"""How much memory this process has taken for a rank, now and at its worst moment."""

import contextlib
from pathlib import Path
from typing import Protocol

import torch

from llama4coder.config import Device
from llama4coder.machine import return_freed_memory

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): the peak resident set becomes the present one


class MemoryMeter(Protocol):
    """Counts what this process has taken since the memory was looked at that the budget is a part of."""

    def now_bytes(self) -> int:
        """What is in use, when what was freed has been given back."""
        ...

    def held_bytes(self) -> int:
        """Of what is in use, what tensors hold, if that can be told apart: all of it otherwise."""
        ...

    def restart_peak(self) -> None: ...

    def peak_bytes(self) -> int:
        """The most that was in use since `restart_peak`."""
        ...


class ResidentMemory:
    """Implements `MemoryMeter` for CPUs: the resident set of the process."""

    def __init__(self, before_bytes: int = 0) -> None:
        self._before_bytes = before_bytes

    def now_bytes(self) -> int:
        """See `MemoryMeter`."""
        return_freed_memory()
        return _status_bytes("VmRSS") - self._before_bytes

    def held_bytes(self) -> int:
        """See `MemoryMeter`; nothing is told apart."""
        return self.now_bytes()

    def restart_peak(self) -> None:
        """See `MemoryMeter`; where the kernel refuses, the peak is that of the process' whole life, never less."""
        return_freed_memory()
        with contextlib.suppress(OSError):
            _CLEAR_REFS.write_text(_RESET_PEAK)

    def peak_bytes(self) -> int:
        """See `MemoryMeter`."""
        return _status_bytes("VmHWM") - self._before_bytes


class DeviceMemory:
    """Implements `MemoryMeter` for a GPU: all that is taken of it counts, by torch, by libraries, by the context."""

    def __init__(self, before_bytes: int = 0) -> None:
        self._before_bytes = before_bytes

    def now_bytes(self) -> int:
        """See `MemoryMeter`."""
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        free_bytes, total_bytes = torch.cuda.mem_get_info()
        return total_bytes - free_bytes - self._before_bytes

    def held_bytes(self) -> int:
        """See `MemoryMeter`; beside it there are the context, libraries, and gaps that torch cannot give back."""
        return torch.cuda.memory_allocated()

    def restart_peak(self) -> None:
        """See `MemoryMeter`."""
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()

    def peak_bytes(self) -> int:
        """See `MemoryMeter`; torch alone has a peak, and what others have taken meanwhile they keep."""
        torch.cuda.synchronize()
        given_back_bytes = torch.cuda.max_memory_reserved() - torch.cuda.memory_reserved()
        free_bytes, total_bytes = torch.cuda.mem_get_info()
        return total_bytes - free_bytes + given_back_bytes - self._before_bytes


def meter_for(device: Device) -> MemoryMeter:
    """Of a process that was not there when the memory was looked at: all of it counts."""
    return DeviceMemory() if device == "cuda" else ResidentMemory()


def meter_from_now(device: Device) -> MemoryMeter:
    """Of a process that has just looked at the memory itself."""
    before_bytes = meter_for(device).now_bytes()
    return DeviceMemory(before_bytes) if device == "cuda" else ResidentMemory(before_bytes)


def _status_bytes(name: str) -> int:
    lines = _STATUS.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
