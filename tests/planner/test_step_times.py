"""The contract of step times, for those of a data sheet and for measured ones."""

from dataclasses import replace

import pytest
from hypothesis import given, settings

from llama4coder.config import KVFormat
from llama4coder.gpu.graph_sizes import GraphSizes
from llama4coder.kv.step_sizing import ServedForm
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.planner.calibrated import CalibratedTimes, MeasuredSteps, Surroundings
from llama4coder.planner.gpus import find_gpu
from llama4coder.planner.roofline import Roofline
from llama4coder.planner.shapes import find_model
from llama4coder.planner.step_load import StepLoad
from llama4coder.planner.step_time import StepPart
from tests.support.step_times_contract import check_contract, loads

STEPS = MeasuredSteps((1, 8, 64, 512), (0.02, 0.02, 0.05, 0.4), 0.001, 1e-6, 5e-7, 1e-8)
AROUND = Surroundings(1.1, 0.002, 0.03)


def roofline(ranks: int, kv_format: KVFormat = "dense") -> Roofline:
    form = ServedForm("bfloat16", "fp8", kv_format, "cuda")
    model = find_model("llama-3.1-70b")
    return Roofline(find_gpu("H200"), model.shape, ParallelLayout(ranks), form, GraphSizes.up_to(256))


@settings(max_examples=30, deadline=None)
@given(load=loads())
def test_data_sheet(load: StepLoad) -> None:
    check_contract(roofline(1), load)
    check_contract(roofline(4, "fp8"), load)
    check_contract(replace(roofline(1), graphs=None), load)


@settings(max_examples=30, deadline=None)
@given(load=loads())
def test_measured(load: StepLoad) -> None:
    check_contract(CalibratedTimes(STEPS), load)
    check_contract(CalibratedTimes(STEPS, AROUND), load)


def test_between_and_beyond_what_was_measured() -> None:
    times = [STEPS.through_layers_s(tokens) for tokens in (1, 4, 8, 36, 64, 512, 960)]
    assert times == pytest.approx([0.02, 0.02, 0.02, 0.035, 0.05, 0.4, 0.75])


def test_parts() -> None:
    load = StepLoad.decoding(2, 200) + StepLoad.prefill(6)
    parts = CalibratedTimes(STEPS, AROUND).step(load).parts_s
    assert parts[StepPart.WEIGHTS] == pytest.approx(1.1 * (0.02 + 3 * 0.001))
    assert parts[StepPart.ATTENTION] == pytest.approx(1.1 * (200 * 1e-6 + 21 * 1e-8))
    assert parts[StepPart.HOST] == pytest.approx(2 * 0.002)
