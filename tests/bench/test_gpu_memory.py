"""The memory benchmark runs from end to end on a CPU: a full context, then more than the pool can hold."""

import json
from pathlib import Path

import pytest

from llama4coder.errors import NotEnoughMemory
from tests.bench import gpu_memory
from tests.bench.gpu_report import Report

TINY = ["--device", "cpu", "--shape", "tiny", "--quant", "none", "--dtype", "float32"]
SMALL_POOL = ["--step-tokens", "128", "--budget", str(2**30), "--kv-bytes", str(2**20)]


def test_it_fills_a_pool_and_stays_under_the_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.jsonl"
    gpu_memory.run(gpu_memory.parse([*TINY, *SMALL_POOL]), Report(out, budget_s=100))
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    longest, many = (line for line in lines if line["kind"] == "traffic")
    assert (longest["requests"], longest["running"]) == (1, 1)
    assert many["running"] > 1 and many["waiting"] > 0
    (memory,) = (line for line in lines if line["kind"] == "memory")
    assert memory["context"] == 512
    assert memory["actual_kv_gb"] == pytest.approx(memory["predicted_kv_gb"], rel=0.03)
    assert "| weights |" in capsys.readouterr().out


def test_a_context_that_does_not_fit_is_refused() -> None:
    with pytest.raises(NotEnoughMemory, match=r"it would fit with|would do"):
        gpu_memory.run(gpu_memory.parse([*TINY, "--budget", f"{200 * 2**20}", "--context", "512"]), Report(None, 100))
