"""Compiles the C files of this folder once per machine and loads it; seconds the first time, nothing after that."""

import ctypes
import hashlib
import logging
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path


@dataclass(frozen=True, slots=True)
class InstructionSet:
    """Instructions that the kernels can be compiled for."""

    cpu_flags: frozenset[str]  # as the Linux kernel spells them
    compile_flags: tuple[str, ...]


AVX512 = InstructionSet(
    frozenset({"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_bf16", "f16c"}),
    ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512bf16", "-mfma", "-mf16c"),
)
AVX2 = InstructionSet(frozenset({"avx2", "fma", "f16c"}), ("-mavx2", "-mfma", "-mf16c"))

# In this order one text, so that the compiler needs no folder of ours, and each file may use what is above it.
SOURCES = (
    "pool.h",
    "bfloat16.h",
    "avx512.h",
    "avx2.h",
    "vector.h",
    "linear.h",
    "linear_bfloat16.c",
    "linear_quantised.c",
    "linear.c",
    "rows.c",
    "quantise.c",
    "elementwise.c",
    "kv_formats.h",
    "attention.h",
    "kv_write.c",
    "block_choice.c",
    "paged_attention.c",
    "attention.c",
    "layer.c",
    "filter.c",
    "draw.c",
)
_COMPILE = ("-O3", "-pthread", "-fopenmp-simd", "-fno-math-errno", "-shared", "-fPIC")
_COMPILE_TIMEOUT_S = 120

_log = logging.getLogger(__name__)


def load_library(cache: Path, cpu_flags: frozenset[str], num_threads: int) -> ctypes.CDLL | None:
    """The compiled kernels on so many threads, or None, with the reason in the log, where they cannot be had.

    The file is named by its source and flags, so that a new version never meets an old library.
    """
    instructions = next((known for known in (AVX512, AVX2) if known.cpu_flags <= cpu_flags), None)
    if instructions is None:
        _log.info("native kernels are off: this CPU lacks %s", ", ".join(sorted(AVX2.cpu_flags - cpu_flags)))
        return None
    source, flags = _source(), (*_COMPILE, *instructions.compile_flags)
    name = hashlib.sha256(source + " ".join(flags).encode()).hexdigest()[:16]
    library = cache / "native" / f"kernels-{name}.so"
    try:
        if not library.exists():
            _compile(source, flags, library)
        loaded = ctypes.CDLL(str(library))
    except (OSError, subprocess.SubprocessError) as error:
        _log.warning("native kernels are off, and decoding is slower: %s", error)
        return None
    loaded.l4c_set_num_threads(ctypes.c_int64(num_threads))
    return loaded


def _source() -> bytes:
    folder = files(__package__)
    text = b"".join(folder.joinpath(name).read_bytes() for name in SOURCES)
    return re.sub(rb'^#include "\w+\.h"\n', b"", text, flags=re.MULTILINE)


def _compile(source: bytes, flags: tuple[str, ...], library: Path) -> None:
    """Compile beside the target and rename, so that two processes at once both end well."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise FileNotFoundError("there is no C compiler (cc) on the PATH")
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        built = Path(folder) / "kernels.so"
        command = [compiler, *flags, "-x", "c", "-", "-o", str(built), "-lm"]
        done = subprocess.run(command, input=source, capture_output=True, timeout=_COMPILE_TIMEOUT_S, check=False)
        if done.returncode:
            last_line = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise OSError(f"{compiler} failed: {last_line}")
        os.replace(built, library)
