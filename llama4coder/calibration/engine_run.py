"""Trials on an engine in this process, stepped as a server steps its own."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random

from llama4coder.calibration.design import Trial
from llama4coder.calibration.recorder import StepRecorder, TimedStep
from llama4coder.engine.engine import Engine
from llama4coder.progress import Progress
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions

_SAMPLING = SamplingParams()


@dataclass(frozen=True, slots=True)
class TrialSteps:
    """What a trial led to."""

    trial: Trial
    steps: Sequence[TimedStep]


class EngineRun:
    """Drives one engine, whose executor and observer the recorder is."""

    def __init__(self, engine: Engine, recorder: StepRecorder, vocab_size: int) -> None:
        self._engine = engine
        self._recorder = recorder
        self._vocab_size = vocab_size
        self._numbers = Random(0)
        self._num_requests = 0

    def run(self, trials: Iterable[Trial], progress: Progress) -> list[TrialSteps]:
        """The first trial only warms up, and is left out."""
        found = []
        for trial in trials:
            found.append(self._try(trial))
            progress.advance(1)
        return found[1:]

    def _try(self, trial: Trial) -> TrialSteps:
        shared = self._known_prefix(trial.num_shared)
        num_before = len(self._recorder.steps)
        for _ in range(trial.num_rows):
            self._add(shared, trial.context, trial.num_steps)
        self._step_while(lambda: self._is_prefilling)
        for num_tokens in trial.prompts:
            self._add(shared, num_tokens, 1)
            self._step_while(lambda: self._is_prefilling)
        self._step_while(lambda: self._engine.has_work)
        return TrialSteps(trial, self._recorder.steps[num_before:])

    @property
    def _is_prefilling(self) -> bool:
        scheduler = self._engine.scheduler
        return bool(scheduler.num_waiting or scheduler.num_prefill_tokens)

    def _step_while(self, condition: Callable[[], bool]) -> None:
        while condition():
            self._engine.await_turn()
            self._engine.step()

    def _known_prefix(self, num_tokens: int) -> tuple[int, ...]:
        """Tokens whose keys and values the engine keeps."""
        prefix = self._random_tokens(num_tokens)
        if prefix:
            self._add(prefix, num_tokens + 1, 1)
            self._step_while(lambda: self._engine.has_work)
        return prefix

    def _random_tokens(self, count: int) -> tuple[int, ...]:
        return tuple(self._numbers.randrange(self._vocab_size) for _ in range(count))

    def _add(self, shared: tuple[int, ...], num_prompt: int, num_output: int) -> None:
        """A prompt of which nobody has had more than `shared`, and an output of exactly so many tokens."""
        self._num_requests += 1
        self._engine.add(
            GenerateRequest(
                str(self._num_requests),
                shared + self._random_tokens(num_prompt - len(shared)),
                _SAMPLING,
                StopConditions(num_output, stop_token_ids=frozenset()),
                self._num_requests,
            )
        )
