"""Where the kernels cannot be had, everything goes on without them."""

import ctypes
import logging
from pathlib import Path

import pytest

from llama4coder.native import library as subject
from llama4coder.native.library import AVX2, AVX512, InstructionSet, load_library


def test_a_cpu_without_the_instructions(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert load_library(tmp_path, AVX2.cpu_flags - {"fma"}, 1) is None
    assert "lacks fma" in caplog.text
    assert not list(tmp_path.iterdir())


def test_a_machine_without_a_compiler(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert load_library(tmp_path / "cache", AVX512.cpu_flags, 1) is None
    assert "no C compiler" in caplog.text


def test_a_compiler_that_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho 'unknown option -mavx512bf16' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert load_library(tmp_path / "cache", AVX512.cpu_flags, 1) is None
    assert "unknown option" in caplog.text
    assert not list((tmp_path / "cache" / "native").iterdir())


def test_a_cache_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    assert load_library(blocked, AVX512.cpu_flags, 1) is None
    assert "native kernels are off" in caplog.text


def test_the_second_load_compiles_nothing(
    tmp_path: Path, library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_library(tmp_path, AVX2.cpu_flags, 1) is not None
    monkeypatch.setattr(subject, "_compile", None)
    assert load_library(tmp_path, AVX2.cpu_flags, 1) is not None


@pytest.mark.parametrize("instructions", [AVX512, AVX2], ids=["avx512", "avx2"])
def test_the_source_compiles_for_cpus_that_this_one_is_not(tmp_path: Path, instructions: InstructionSet) -> None:
    """And without a warning; what it computes is tested where it can run."""
    flags = (*subject._COMPILE, "-Wall", "-Wextra", "-Werror", *instructions.compile_flags)
    subject._compile(subject._source(), flags, tmp_path / "native" / "kernels.so")
