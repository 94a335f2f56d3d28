"""Questions that tests vary."""

from dataclasses import replace
from typing import Any

from llama4coder.planner.candidate import Wish
from llama4coder.planner.gpus import find_gpu
from llama4coder.planner.question import Hardware, Question
from llama4coder.planner.shapes import find_model
from llama4coder.planner.traffic import Objectives, Work

WISH = Wish(ranks=2, quant="fp8", context_length=32768)


def question(model: str = "llama-3.1-70b", gpu: str = "H200", wish: Wish = WISH, **others: Any) -> Question:
    """Two ranks of a 70B in FP8 on a node of H200, unless it is said otherwise."""
    asked = Question(
        find_model(model), Hardware.of(find_gpu(gpu), 8, 1), wish, Work(4000, 400), Objectives(), ranks_are_free=False
    )
    return replace(asked, **others)
