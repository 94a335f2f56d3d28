"""The compiled kernels, once for every instruction set that this CPU has."""

import ctypes

import pytest

from llama4coder.machine import cpu_flags
from llama4coder.native.library import AVX2, AVX512, InstructionSet, load_library


@pytest.fixture(scope="session", params=[AVX512, AVX2], ids=["avx512", "avx2"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    instructions: InstructionSet = request.param
    if not instructions.cpu_flags <= cpu_flags():
        pytest.skip("this CPU lacks the instructions")
    library = load_library(tmp_path_factory.mktemp("cache"), instructions.cpu_flags, num_threads=2)
    assert library is not None, "a C compiler is among the things this project needs"
    return library
