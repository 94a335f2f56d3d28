"""The clock, the floor and the printing of `tests/bench/gpu.py`."""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import torch
from torch import Tensor

from llama4coder.gpu.transfer import Moment

_SAMPLE_S = 0.2  # of work per measured quantity


class Report:
    """Prints as it goes, keeps JSON lines beside it, and knows how much time is left."""

    def __init__(self, path: Path | None, budget_s: float) -> None:
        self._path = path
        if path is not None:
            path.write_text("")
        self._end_s = time.monotonic() + budget_s

    def allows(self, seconds: float) -> bool:
        """Whether a part that takes so long still ends in time."""
        return time.monotonic() + seconds < self._end_s

    def say(self, text: str) -> None:
        print(text, flush=True)

    def add(self, kind: str, **values: object) -> None:
        """One measurement: a line for people, a line for programs."""
        self.say(f"{kind:12} " + "  ".join(f"{name} {_short(value)}" for name, value in values.items()))
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"kind": kind, **values}) + "\n")

    def skip(self, what: str) -> None:
        self.say(f"{'skipped':12} {what}: not enough time left")


def device_seconds(call: Callable[[], object], device: torch.device) -> float:
    """The device's time for one call, the median of as many as fit into a fraction of a second."""
    _once(call, device)
    first_s = _once(call, device)
    repeats = max(3, min(100, int(_SAMPLE_S / max(first_s, 1e-6))))
    return statistics.median(_once(call, device) for _ in range(repeats))


def copy_bytes_per_s(device: torch.device) -> float:
    """Bytes read plus bytes written by a large copy on the device: what the floors are computed with."""
    num_bytes = 2**32 if device.type == "cuda" else 2**26
    source = torch.randint(0, 2**31, (num_bytes // 8,), dtype=torch.int64, device=device)
    target = torch.empty_like(source)
    return 2 * num_bytes / device_seconds(lambda: target.copy_(source), device)


def matmul_flops(dtype: torch.dtype, device: torch.device) -> float:
    """Floating-point operations per second of a large product of random matrices."""
    size = 8192 if device.type == "cuda" else 512
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2.0 * size**3 / device_seconds(lambda: left @ right, device)


def tensor_bytes(*roots: object) -> int:
    """Bytes of all tensors that these objects hold, each counted once."""
    found = {tensor.data_ptr(): tensor.nbytes for root in roots for tensor in _tensors(root)}
    return sum(found.values())


def _tensors(root: object) -> Iterator[Tensor]:
    if isinstance(root, Tensor):
        yield root
    elif isinstance(root, tuple | list):
        for item in root:
            yield from _tensors(item)
    elif is_dataclass(root):
        for field in fields(root):
            yield from _tensors(getattr(root, field.name))


def _once(call: Callable[[], object], device: torch.device) -> float:
    start = Moment.of(device)
    call()
    end = Moment.of(device)
    end.wait()
    return end.seconds_since(start)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
