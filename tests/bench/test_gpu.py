"""The GPU benchmark runs from end to end on a CPU, keeps to its budget, and refuses to measure wrong results."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from llama4coder.gpu.graph_sizes import GraphSize
from llama4coder.layers.kernels import TorchKernels
from llama4coder.models.random_weights import SHAPES
from llama4coder.models.weights import Placement
from tests.bench import gpu
from tests.bench.gpu_checks import WrongResult, check_model
from tests.bench.gpu_report import Report, tensor_bytes
from tests.bench.gpu_steps import prefill_flops
from tests.bench.gpu_subject import Candidate

ON_CPU = ["--device", "cpu", "--shape", "tiny"]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_every_part_runs_on_a_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.jsonl"
    gpu.run(gpu.parse(ON_CPU), Report(out, budget_s=250))
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    kinds = {line["kind"] for line in lines}
    expected = {"ceilings", "check", "model", "decode", "verify", "prefill", "attention", "linear", "transformers"}
    assert kinds == expected
    decodes = [line for line in lines if line["kind"] == "decode"]
    assert [(line["batch"], line["context"]) for line in decodes] == [(1, 128), (2, 256)]
    assert all(line["step_ms"] > 0 and line["floor_ms"] > 0 for line in decodes)
    assert "skipped" not in capsys.readouterr().out


def test_a_spent_budget_leaves_out_what_would_take_longer(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.run(gpu.parse(ON_CPU), Report(None, budget_s=0))
    shown = capsys.readouterr().out
    assert "check" in shown
    assert "skipped" in shown
    assert "\ndecode" not in shown


def test_wrong_kernels_end_the_run() -> None:
    class Wrong(TorchKernels):
        def swiglu(self, gate_up: Tensor) -> Tensor:
            return 1.5 * super().swiglu(gate_up)

    placement = Placement(torch.float32, torch.device("cpu"))
    candidate = Candidate("wrong", gpu.TINY_SHAPE, Wrong(), TorchKernels(), placement, "dense")
    with pytest.raises(WrongResult, match="relative error"):
        check_model(candidate, 0.01, Report(None, 100))


def test_shapes_are_llama_3() -> None:
    assert SHAPES["8b"].num_parameters == pytest.approx(8.03e9, rel=0.001)
    assert SHAPES["70b"].num_parameters == pytest.approx(70.55e9, rel=0.001)
    assert SHAPES["1b"].num_parameters == pytest.approx(1.236e9, rel=0.001)


def test_prefill_counts_two_operations_per_weight_and_token() -> None:
    assert prefill_flops(SHAPES["8b"], 1024) == pytest.approx(2 * 6.98e9 * 1024, rel=0.05)


def test_full_runs_have_a_graph_for_every_batch_they_measure() -> None:
    sizes = gpu.full_sizes(131072, quick=False)
    for batch in (*sizes.decode, *sizes.verify):
        assert sizes.graphs.padded(batch.num_rows, batch.tokens_per_row) == GraphSize(
            batch.num_rows, batch.tokens_per_row
        )


def test_bytes_of_shared_tensors_count_once() -> None:
    tensor = torch.zeros(10)
    assert tensor_bytes((tensor, [tensor]), tensor) == 40
