"""Loading a model in one format after the other, and scoring the same windows with each."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from llama4coder.checkpoint.stored_quant import read_stored_quant
from llama4coder.config import Auto, DeploymentConfig, DType, EngineConfig, ModelConfig, SpeculationConfig
from llama4coder.engine.engine import Engine
from llama4coder.engine.loading_rank import load_runner
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.errors import ConfigError
from llama4coder.kv.sizing import num_blocks_for
from llama4coder.machine import Machine
from llama4coder.obs.stats import NullObserver, StepStats
from llama4coder.perplexity.formats import BASELINE, Format
from llama4coder.perplexity.interval import Losses, difference_percent, perplexity
from llama4coder.perplexity.report import Measured, Row
from llama4coder.perplexity.scoring import score_window
from llama4coder.perplexity.windows import Window
from llama4coder.progress import Progress
from llama4coder.resolve import resolve
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import read_shape


@dataclass(frozen=True, slots=True)
class Task:
    """A model, and the windows that it is to predict; each is shorter than the context."""

    folder: Path
    windows: Sequence[Window]
    context_length: int
    dtype: DType | Auto = "auto"


def measure(task: Task, formats: Sequence[Format], machine: Machine, progress: Progress) -> Iterator[Row]:
    """Each format's row as soon as it is there; a format that the model or machine cannot have is refused in its row.

    Differences are to `BASELINE`, if it comes first and can be had.
    """
    baseline: Losses | None = None
    for each in formats:
        try:
            config = _resolved(task, each, machine)
            losses, elapsed_s = _score(config, task.windows, f"scoring {each}", progress)
        except ConfigError as error:
            yield Row(each, None, str(error))
            continue
        if each == BASELINE:
            baseline = losses
        compared = None if baseline is None or each == BASELINE else difference_percent(losses, baseline)
        engine = config.engine
        measured = Measured(
            dtype=config.model.dtype,
            perplexity=perplexity(losses),
            difference_percent=compared,
            weight_bytes=engine.weight_bytes_per_rank,
            kv_bytes_per_token=_block_bytes(config) / engine.block_size,
            tokens_per_s=sum(map(len, losses)) / elapsed_s,
        )
        yield Row(each, measured)


def _score(config: ResolvedConfig, windows: Sequence[Window], label: str, progress: Progress) -> tuple[Losses, float]:
    """Losses by window, and the seconds that it took once the weights were there."""
    executor = LocalExecutor(load_runner(config, progress).launch)
    with closing(Engine(config, executor, _StepProgress(progress))) as engine:
        progress.start(label, sum(map(len, windows)), "tokens")
        started_s = time.perf_counter()
        try:
            scored = [score_window(engine, window) for window in windows]
        finally:
            progress.finish()
        elapsed_s = time.perf_counter() - started_s
    return [[-logprob for logprob in window.logprobs] for window in scored], elapsed_s


class _StepProgress(NullObserver):
    """Advances by the tokens of each step."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_step(self, stats: StepStats) -> None:
        self._progress.advance(stats.num_prefill_tokens)


def _resolved(task: Task, wanted: Format, machine: Machine) -> ResolvedConfig:
    """As it would be served, with blocks for one window and nothing beside.

    Raises:
        ConfigError: this model or machine cannot have the format.
    """
    shape = read_shape(task.folder)
    engine = EngineConfig(kv_format=wanted.kv_format, max_sequences=1, prefix_caching=False, host_memory_bytes=0)
    config = DeploymentConfig(
        model=ModelConfig(
            path=str(task.folder), dtype=task.dtype, quant=wanted.quant, context_length=task.context_length
        ),
        engine=engine,
        speculation=SpeculationConfig(method="none"),
    )
    stored = read_stored_quant(task.folder)
    block_bytes = _block_bytes(resolve(config, task.folder, shape, machine, stored))
    exact = engine.model_copy(update={"kv_memory_bytes": block_bytes * num_blocks_for(task.context_length)})
    return resolve(config.model_copy(update={"engine": exact}), task.folder, shape, machine, stored)


def _block_bytes(config: ResolvedConfig) -> int:
    return config.engine.kv_bytes_per_rank // config.engine.num_blocks
