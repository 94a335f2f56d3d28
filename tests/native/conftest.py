"""The compiled kernels, on CPUs that can run them."""

import ctypes
from pathlib import Path

import pytest

from llama4coder.machine import cpu_flags
from llama4coder.native.library import REQUIRED_CPU_FLAGS, load_library


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if REQUIRED_CPU_FLAGS - cpu_flags(Path("/proc/cpuinfo")):
        pytest.skip("this CPU does not compute in bfloat16")
    library = load_library(tmp_path_factory.mktemp("cache"), cpu_flags(), num_threads=2)
    assert library is not None, "a C compiler is among the things this project needs"
    return library
