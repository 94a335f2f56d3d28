"""Memory and instructions, read from files that the test writes."""

from pathlib import Path

import pytest

from llama4coder.machine import available_memory_bytes, cpu_flags, detect_machine

MEMINFO = "MemTotal:       16000 kB\nMemAvailable:    8000 kB\n"


@pytest.mark.parametrize(
    ("limit", "current", "expected"),
    [(None, None, 8000 * 1024), ("max", "5", 8000 * 1024), ("6000000", "5000000", 1000000), ("100", "500", 0)],
    ids=["no container", "no limit", "limit", "over the limit"],
)
def test_the_smaller_of_machine_and_container(
    tmp_path: Path, limit: str | None, current: str | None, expected: int
) -> None:
    (tmp_path / "meminfo").write_text(MEMINFO)
    if limit is not None and current is not None:
        (tmp_path / "memory.max").write_text(limit + "\n")
        (tmp_path / "memory.current").write_text(current + "\n")
    assert available_memory_bytes(tmp_path, tmp_path) == expected


def test_cpu_flags(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nflags\t\t: fpu avx512_bf16 amx\nflags\t\t: other\n")
    assert cpu_flags(file) == {"fpu", "avx512_bf16", "amx"}
    file.write_text("processor\t: 0\nFeatures\t: fp bf16\n")
    assert cpu_flags(file) == {"fp", "bf16"}
    assert cpu_flags(tmp_path / "missing") == frozenset()


def test_this_machine_has_something_to_offer() -> None:
    machine = detect_machine()
    assert machine.memory_bytes > 0 and machine.num_cpus > 0
