"""Memory and instructions, read from files that the test writes."""

from pathlib import Path

import pytest

from llama4coder import machine
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
        (tmp_path / "memory.stat").write_text("anon 4000000\nfile 900\nactive_file 300\n")
    assert available_memory_bytes(tmp_path, tmp_path) == expected


def test_files_that_were_read_take_no_memory_from_a_container(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(MEMINFO)
    (tmp_path / "memory.max").write_text("6000000\n")
    (tmp_path / "memory.current").write_text("5900000\n")
    (tmp_path / "memory.stat").write_text("anon 1900000\ninactive_file 4000000\nactive_file 0\n")
    assert available_memory_bytes(tmp_path, tmp_path) == 4_100_000


def test_cpu_flags(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nflags\t\t: fpu avx512_bf16 amx\nflags\t\t: other\n")
    assert cpu_flags(file) == {"fpu", "avx512_bf16", "amx"}
    file.write_text("processor\t: 0\nFeatures\t: fp bf16\n")
    assert cpu_flags(file) == {"fp", "bf16"}
    assert cpu_flags(tmp_path / "missing") == frozenset()


def test_a_gpu_that_torch_cannot_use_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert machine._detect_gpu(4, lends_gpus=False) is None


@pytest.mark.parametrize(("capability", "computes_bfloat16"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_a_gpu_offers_its_free_memory(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], computes_bfloat16: bool
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (100, 200))
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: capability)
    monkeypatch.setattr(machine, "available_memory_bytes", lambda proc, cgroup: 1000)
    assert machine._detect_gpu(4, lends_gpus=False) == machine.Machine("cuda", 100, 4, computes_bfloat16, 1000)
    assert machine._detect_gpu(4, lends_gpus=True) == machine.Machine("cuda", 200, 4, computes_bfloat16, 1000)


def test_ranks_on_a_cpu_are_told_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = machine.Machine("cuda", 100, 4, True)
    monkeypatch.setattr(machine, "_detect_gpu", lambda num_cpus, lends_gpus: gpu)
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: iter([folder / "nvidia0"]))
    assert detect_machine("cuda") is detect_machine("auto") is gpu
    assert detect_machine("cpu").device == "cpu"
    assert detect_machine("cpu").memory_bytes > 100
    assert detect_machine("cpu").host_memory_bytes == 0


def test_this_machine_has_something_to_offer() -> None:
    found = detect_machine()
    assert found.memory_bytes > 0 and found.num_cpus > 0


@pytest.mark.parametrize(
    ("flags", "has_compiler", "expected"),
    [
        ({"avx512_bf16"}, False, True),
        ({"avx2", "fma", "f16c"}, True, True),
        ({"avx2", "fma", "f16c"}, False, False),
        ({"sse4_2"}, True, False),
    ],
)
def test_bfloat16_is_chosen_where_something_computes_it(flags: set[str], has_compiler: bool, expected: bool) -> None:
    assert machine.computes_bfloat16(frozenset(flags), has_compiler=has_compiler) is expected
