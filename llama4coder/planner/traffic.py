"""What is asked of a deployment, and what it promises."""

import math
from dataclasses import dataclass

from llama4coder.errors import ConfigError
from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.planner.step_load import StepLoad

HEADROOM = 0.8
"""Share of its capacity that a replica is planned to carry: beyond it small errors of a plan become large waits."""


@dataclass(frozen=True, slots=True)
class Work:
    """One request, as all are on average."""

    prompt_tokens: int
    output_tokens: int
    shared_prefix: float = 0.0  # share of the prompt whose blocks are cached

    def __post_init__(self) -> None:
        if self.prompt_tokens < 1 or self.output_tokens < 1:
            raise ConfigError(
                f"prompts of {self.prompt_tokens} and outputs of {self.output_tokens} tokens: both must be 1 or more"
            )
        if not 0 <= self.shared_prefix <= 1:
            raise ConfigError(f"a shared prefix of {self.shared_prefix} is no share: give a number from 0 to 1")

    @property
    def cached_tokens(self) -> int:
        """In whole blocks; the last token of a prompt is computed in any case."""
        shared = int(self.shared_prefix * self.prompt_tokens)
        return min(shared, self.prompt_tokens - 1) // BLOCK_SIZE * BLOCK_SIZE

    @property
    def new_tokens(self) -> int:
        """Of the prompt, to be computed."""
        return self.prompt_tokens - self.cached_tokens

    @property
    def decoded_tokens(self) -> int:
        """All of the output but the first, which the prefill gives."""
        return self.output_tokens - 1

    @property
    def total_tokens(self) -> int:
        """What an admission reserves blocks for."""
        return self.prompt_tokens + self.output_tokens

    @property
    def mean_context(self) -> int:
        """While it generates."""
        return self.prompt_tokens + self.output_tokens // 2

    def check_fits(self, context_length: int) -> None:
        """Raise `ConfigError` if such a request would be refused."""
        if self.total_tokens > context_length:
            raise ConfigError(
                f"{self.prompt_tokens} prompt tokens and {self.output_tokens} output tokens do not fit the context of "
                f"{context_length} tokens: raise --context, or plan for shorter requests"
            )

    def chunk(self, num_tokens: int) -> StepLoad:
        """So many tokens of prompts, as they are on average; of several prompts if they are more than one has."""
        share = num_tokens / self.new_tokens
        pairs = StepLoad.prefill(self.new_tokens, self.cached_tokens).num_prefill_pairs
        return StepLoad(num_tokens, max(1, round(share)), 0, 0, num_tokens, round(share * pairs))


@dataclass(frozen=True, slots=True)
class Objectives:
    """Mean times that must not be exceeded; None where there is no such objective."""

    ttft_s: float | None = None
    itl_s: float | None = None
    utilisation: float = HEADROOM

    def __post_init__(self) -> None:
        for name, value in (("TTFT", self.ttft_s), ("ITL", self.itl_s)):
            check_positive(name, value)
        if not 0 < self.utilisation < 1:
            raise ConfigError(f"a utilisation of {self.utilisation} leaves no headroom: give a share between 0 and 1")


def check_positive(name: str, value: float | None) -> None:
    """Raise `ConfigError` for what is neither None nor a finite number above 0."""
    if value is not None and not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{name} is {value}: give a number above 0")
