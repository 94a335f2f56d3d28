"""Offline generation in one process: no server, no Ray, one call."""

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.cli.progress import RichProgress
from llama4coder.config import DeploymentConfig, EngineConfig, ModelConfig, SpeculationConfig
from llama4coder.engine.engine import Engine
from llama4coder.engine.loading_rank import load_measured
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.engine.memory_meter import meter_from_now
from llama4coder.env import cache_dir
from llama4coder.kv.memory_line import told_memory
from llama4coder.machine import detect_machine
from llama4coder.obs.stats import NullObserver
from llama4coder.progress import NullProgress, Progress
from llama4coder.resolve_folder import resolve_folder
from llama4coder.shape import read_shape
from llama4coder.spec.build import build_speculation
from llama4coder.tokenizer.stream import TextStream
from llama4coder.tokenizer.tokenizer import Tokenizer
from llama4coder.types import FinishReason, GenerateRequest, SamplingParams, StopConditions, TokenEvent

_log = logging.getLogger(__name__)

Prompt = str | Sequence[int]


@dataclass(frozen=True, slots=True, repr=False)
class Completion:
    """What one prompt led to."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason


class LLM:
    """A model in memory; `with LLM(...) as llm` or `close()` ends its thread."""

    def __init__(
        self,
        path: str = "embedded",
        *,
        model: ModelConfig | None = None,
        engine: EngineConfig | None = None,
        speculation: SpeculationConfig | None = None,
    ) -> None:
        """Load a checkpoint folder, or the embedded model; what else is given overrides the defaults.

        Raises:
            CheckpointError: the folder cannot be loaded.
            NotEnoughMemory: it does not fit this machine.
        """
        progress = RichProgress()
        settings = (model or ModelConfig()).model_copy(update={"path": path})
        folder = find_checkpoint(path, cache_dir(), progress)
        config = DeploymentConfig(
            model=settings, engine=engine or EngineConfig(), speculation=speculation or SpeculationConfig()
        )
        machine = detect_machine(config.engine.device)
        meter = meter_from_now(machine.device)
        resolved = resolve_folder(config, folder, machine)
        self.context_length = resolved.model.context_length
        self._top_blocks = resolved.engine.top_blocks
        self.tokenizer = Tokenizer.from_folder(Path(folder))
        observer = NullObserver()
        guessing = build_speculation(resolved, read_shape(folder).vocab_size, observer)  # its memory counts, too
        alone = load_measured(resolved, meter, progress)
        _log.info("memory: %s", told_memory(alone.config, alone.memory))
        self._engine = Engine(alone.config, LocalExecutor(alone.runner.launch), observer, guessing)

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling: SamplingParams | None = None,
        *,
        max_tokens: int = 128,
        stop: Sequence[str] = (),
        seed: int = 0,
        show_progress: bool = True,
    ) -> list[Completion]:
        """Complete raw prompts (texts or token ids), all at once, in their order; prompt i uses `seed + i`.

        Raises:
            ContextTooLong: a prompt and `max_tokens` exceed the context; nothing has been generated then.
        """
        conditions = StopConditions(max_tokens, stop_token_ids=self.tokenizer.eos_token_ids)
        rows = []
        for index, prompt in enumerate(_as_list(prompts)):
            request = GenerateRequest(
                request_id=uuid.uuid4().hex,
                prompt_token_ids=self._token_ids(prompt),
                sampling=sampling or SamplingParams(),
                stop=conditions,
                seed=seed + index,
                top_blocks=self._top_blocks,
            )
            rows.append(_Row(request, TextStream(self.tokenizer, stop)))
        for row in rows:
            self._engine.check_fits(row.request)
        for row in rows:
            self._engine.add(row.request)
        self._run({row.request.request_id: row for row in rows}, RichProgress() if show_progress else NullProgress())
        return [row.completion() for row in rows]

    def close(self) -> None:
        """Stop the model's thread; idempotent."""
        self._engine.close()

    def __enter__(self) -> "LLM":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _token_ids(self, prompt: Prompt) -> tuple[int, ...]:
        if isinstance(prompt, str):
            prompt = self.tokenizer.encode(prompt, add_bos=self.tokenizer.adds_bos)
        return tuple(prompt)

    def _run(self, rows: dict[str, "_Row"], progress: Progress) -> None:
        progress.start("generating", sum(row.request.stop.max_tokens for row in rows.values()), "tokens")
        try:
            while self._engine.has_work:
                for event in self._engine.step():
                    row = rows[event.request_id]
                    progress.advance(row.take(event))
                    if row.stopped and event.finish_reason is None:
                        self._engine.abort(event.request_id)
        finally:
            for request_id in rows:
                self._engine.abort(request_id)  # after an interrupt; those that have ended are unknown
            progress.finish()


class _Row:
    """One prompt while its completion grows."""

    def __init__(self, request: GenerateRequest, stream: TextStream) -> None:
        self.request = request
        self.stopped = False
        self._stream = stream
        self._text: list[str] = []
        self._token_ids: list[int] = []
        self._finish_reason = FinishReason.ABORT

    def take(self, event: TokenEvent) -> int:
        """Book an event; returns how many tokens of the task it settles."""
        ends_by_token = event.finish_reason is FinishReason.STOP
        delta = self._stream.push(event.token_ids[:-1] if ends_by_token else event.token_ids)
        self._text.append(delta.text)
        self.stopped = delta.stopped
        num_kept = delta.num_tokens if delta.stopped else len(event.token_ids)
        self._token_ids.extend(event.token_ids[:num_kept])
        if delta.stopped:
            self._finish_reason = FinishReason.STOP
        elif event.finish_reason is not None:
            self._finish_reason = event.finish_reason
            self._text.append(self._stream.finish())
        if delta.stopped or event.finish_reason is not None:
            return num_kept + self.request.stop.max_tokens - len(self._token_ids)
        return num_kept

    def completion(self) -> Completion:
        return Completion("".join(self._text), tuple(self._token_ids), self._finish_reason)


def _as_list(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    """One prompt, or several: a list of numbers is one prompt."""
    if isinstance(prompts, str) or (prompts and isinstance(prompts[0], int)):
        return [prompts]  # type: ignore[list-item]  # narrowed by its first element
    return list(prompts)  # type: ignore[arg-type]
