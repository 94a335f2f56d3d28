"""Every kernel compiles for the GPUs it is meant for: the interpreter accepts what the compiler does not."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED_BYTES_OF_HOPPER = 227 * 1024


def kernels_of_the_package() -> set[str]:
    """Every function that is launched ends in `_kernel`."""
    sources = (file.read_text() for file in (REPOSITORY / "llama4coder" / "gpu").glob("*_kernels.py"))
    return {name for source in sources for name in re.findall(r"^def (\w+_kernel)\(", source, re.MULTILINE)}


@pytest.mark.slow
def test_every_kernel_compiles_for_hopper(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.compile_kernels"],
        cwd=REPOSITORY,
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kernels = [json.loads(line) for line in done.stdout.splitlines()]
    assert {name for _, name, _, _ in kernels} == kernels_of_the_package()
    for what, name, shared_bytes, uses_tensor_cores in kernels:
        assert shared_bytes <= SHARED_BYTES_OF_HOPPER, (what, name)
        assert uses_tensor_cores == (name in ("paged_attention_kernel", "nf4_product_kernel")), (what, name)
