"""Calibrations that nobody has measured."""

from typing import Any

from llama4coder.kv.step_sizing import ServedForm
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.planner.calibration import Calibration, Serving, Source, Steps, Subject
from llama4coder.planner.shapes import find_model

SERVING = Serving(scale=1.0, row_s=0.0, front_s=0.25, date="2026-11-27T00:00:00+00:00", loads=())


def calibration(model: str = "llama-3.2-1b", **others: Any) -> Calibration:
    """Of bfloat16 weights on one rank: 100 ms a step, and 1 ms for each token; `others` are fields."""
    subject = Subject.of(find_model(model).shape, ParallelLayout(), ServedForm("bfloat16", "none", "dense", "cuda"))
    source = Source(
        model=model,
        machine="Abacus 3",
        device="cpu",
        num_threads=2,
        date="2026-11-27T00:00:00+00:00",
        version="0.1.0",
        num_steps=1000,
        residuals=(),
    )
    steps = Steps(tokens=(1, 1001), seconds=(0.1, 1.1), sampled_s=0.0, read_s=0.0, reread_s=0.0, pair_s=0.0)
    return Calibration.model_validate({"subject": subject, "source": source, "steps": steps, **others})
