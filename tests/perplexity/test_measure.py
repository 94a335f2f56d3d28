"""Formats side by side: transformers' own loss, refusals that leave the rest standing, progress."""

import math
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from llama4coder.errors import ConfigError
from llama4coder.machine import Machine
from llama4coder.perplexity.formats import BASELINE, Format
from llama4coder.perplexity.measure import Task, measure
from llama4coder.perplexity.report import Measured, Report, Row
from llama4coder.perplexity.windows import cut_windows
from llama4coder.progress import NullProgress
from tests.support.models import write_tiny, write_tiny_llama
from tests.support.progress import CountingProgress

MACHINE = Machine("cpu", 8 * 2**30, num_cpus=1, computes_bfloat16=False)
CONTEXT = 128


def task(folder: Path, num_tokens: int = 300) -> Task:
    token_ids = torch.randint(3, 400, (num_tokens,), generator=torch.Generator().manual_seed(0)).tolist()
    return Task(folder, cut_windows(token_ids, CONTEXT - 1), CONTEXT, dtype="float32")


def rows(task: Task, *formats: Format) -> list[Row]:
    return list(measure(task, formats, MACHINE, NullProgress()))


def measured(row: Row) -> Measured:
    assert row.measured is not None, row.refusal
    return row.measured


@torch.inference_mode()
def reference_perplexity(model: PreTrainedModel, task: Task) -> float:
    """By transformers' own loss, which is the mean over a window's tokens but the first."""
    total, count = 0.0, 0
    for window in task.windows:
        ids = torch.tensor([window])
        total += float(model(ids, labels=ids).loss) * (len(window) - 1)
        count += len(window) - 1
    return math.exp(total / count)


def test_parity_with_transformers(tmp_path: Path) -> None:
    model = write_tiny_llama(tmp_path)
    subject = task(tmp_path)
    found = measured(rows(subject, BASELINE)[0])
    assert found.perplexity.value == pytest.approx(reference_perplexity(model, subject), rel=1e-3)
    assert found.difference_percent is None
    assert found.tokens_per_s > 0
    assert found.kv_bytes_per_token == 2 * 2 * 2 * 16 * 4  # K and V, layers, heads, head_dim, bytes


def test_formats_differ_from_the_baseline(tmp_path: Path) -> None:
    write_tiny_llama(tmp_path)
    baseline, int8, int4 = rows(task(tmp_path), BASELINE, Format("none", "int8"), Format("none", "int4"))
    base, eight, four = measured(baseline), measured(int8), measured(int4)
    for other in (eight, four):
        assert other.difference_percent is not None
        ratio = other.perplexity.value / base.perplexity.value
        assert other.difference_percent.value == pytest.approx(100 * (ratio - 1), abs=1e-9)
        assert other.difference_percent.value != 0.0
    assert base.kv_bytes_per_token > eight.kv_bytes_per_token > four.kv_bytes_per_token


def test_refused_formats_leave_the_others_standing(tmp_path: Path) -> None:
    """Keys with biases are too much for fp8, and the layers have no whole groups for int4."""
    model = write_tiny(tmp_path, "qwen2", intermediate_size=136)
    subject = task(tmp_path)
    found = rows(subject, BASELINE, Format("none", "fp8"), Format("int4", "dense"), Format("none", "int8"))
    assert [row.measured is None for row in found] == [False, True, True, False]
    assert found[1].refusal is not None
    assert "they have biases" in found[1].refusal
    assert found[2].refusal is not None
    assert "groups of 32" in found[2].refusal
    assert measured(found[0]).perplexity.value == pytest.approx(reference_perplexity(model, subject), rel=1e-3)


def test_without_a_baseline_there_is_no_difference(tmp_path: Path) -> None:
    write_tiny_llama(tmp_path)
    assert measured(rows(task(tmp_path), Format("none", "int8"))[0]).difference_percent is None


class LastPiece(CountingProgress):
    """Of several pieces of work the last one."""

    def start(self, label: str, total: int, unit: str) -> None:
        super().start(label, total, unit)
        self.done, self.finished = 0, False


def test_progress_counts_every_token(tmp_path: Path) -> None:
    write_tiny_llama(tmp_path)
    progress = LastPiece()
    list(measure(task(tmp_path), [BASELINE], MACHINE, progress))
    assert (progress.label, progress.total, progress.unit) == ("scoring none + dense", 300, "tokens")
    assert (progress.done, progress.finished) == (300, True)


def test_damaged_weights_are_the_reason(tmp_path: Path) -> None:
    write_tiny_llama(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"cut off")
    found = rows(task(tmp_path), BASELINE)
    with pytest.raises(ConfigError, match=r"model\.safetensors"):
        Report.of("tiny", 299, CONTEXT, found)
