"""Teacher forcing by an engine: how likely it finds each token of a text, given those before it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llama4coder.engine.engine import Engine
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions, TokenEvent


@dataclass(frozen=True, slots=True)
class Scored:
    """Of each token of a window but the first: its log-probability (natural), and the likeliest token there."""

    logprobs: tuple[float, ...]
    likeliest: tuple[int, ...]


def score_window(engine: Engine, window: Sequence[int]) -> Scored:
    """Alone in an idle engine whose context is longer than the window, for it generates one token, too.

    Raises:
        ContextTooLong: it is not.
        EngineDead: a step failed.
    """
    sampling = SamplingParams(temperature=0.0, num_prompt_logprobs=1)
    request = GenerateRequest("window", tuple(window), sampling, StopConditions(max_tokens=1), seed=0)
    engine.check_fits(request)
    engine.add(request)
    scores = [score for event in run(engine) for score in event.prompt_logprobs if score is not None]
    return Scored(tuple(score.chosen.logprob for score in scores), tuple(score.top[0].token_id for score in scores))


def run(engine: Engine) -> Iterator[TokenEvent]:
    """Step until nothing is left to do."""
    while engine.has_work:
        engine.await_turn()
        yield from engine.step()
