"""The bytes of a plan are those that ranks take: within 3 %, for twelve layouts and formats on a CPU."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from llama4coder.models.random_weights import SHAPES
from tests.bench.random_checkpoint import write_random
from tests.planner.allocation import Form, allocated_bytes, predicted_bytes, resolved, smaller, warm_config

pytestmark = pytest.mark.slow

_log = logging.getLogger(__name__)  # told with `pytest --log-cli-level=INFO`

SHAPE = replace(SHAPES["1b"], vocab_size=32768, num_layers=6, max_position=2048)
TOLERANCE = 0.03

FORMS = (
    Form(1, 1, "bfloat16", "none", "dense"),
    Form(1, 1, "float32", "none", "dense"),
    Form(1, 1, "bfloat16", "none", "fp8"),
    Form(1, 1, "bfloat16", "int8", "int8"),
    Form(1, 1, "bfloat16", "int4", "int4"),
    Form(1, 1, "bfloat16", "fp8", "dense"),
    Form(1, 1, "bfloat16", "nf4", "int8"),
    Form(2, 1, "bfloat16", "none", "dense"),
    Form(2, 1, "bfloat16", "int8", "int4"),
    Form(1, 2, "bfloat16", "none", "int8"),
    Form(2, 2, "bfloat16", "none", "fp8"),
    Form(4, 2, "bfloat16", "none", "dense"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_random(folder, SHAPE)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_random(folder, smaller(SHAPE))
    return folder


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_predicted_and_allocated(form: Form, folder: Path, tiny: Path) -> None:
    config, warm = resolved(folder, SHAPE, form), warm_config(tiny, smaller(SHAPE), form)
    rank = form.layout.num_ranks - 1
    predicted = predicted_bytes(config, SHAPE, rank)
    allocated = allocated_bytes(config, warm, SHAPE, rank)
    _log.info("%s: %.1f MiB planned, %+.2f %%", form, predicted / 2**20, 100 * (allocated / predicted - 1))
    assert allocated == pytest.approx(predicted, rel=TOLERANCE)
