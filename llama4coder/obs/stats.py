"""What an engine tells whoever watches it; numbers only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from llama4coder.types import FinishReason


@dataclass(frozen=True, slots=True)
class ShardBlocks:
    """The blocks of one KV shard; each is in one state."""

    num_used: int
    num_cached: int
    num_free: int

    @property
    def num_blocks(self) -> int:
        return self.num_used + self.num_cached + self.num_free


@dataclass(frozen=True, slots=True)
class EngineStats:
    """The state of queue and blocks between steps."""

    num_running: int
    num_waiting: int
    num_waiting_batch: int  # of them
    num_waiting_tokens: int
    num_blocks: int
    num_used_blocks: int
    num_cached_blocks: int
    num_free_blocks: int
    num_promised_blocks: int  # of the free and cached ones
    num_cached_host_blocks: int
    num_pinned_host_blocks: int
    num_free_host_blocks: int
    num_available_blocks: int  # of the fullest shard: free, or cached and taken back when needed
    num_running_tokens: int
    num_prefill_tokens: int  # to be computed before every sequence can generate, as far as they are not cached
    num_evicted_blocks: int  # ever
    shards: Sequence[ShardBlocks]


@dataclass(frozen=True, slots=True)
class StepStats:
    """One step; `step_time_s` spans its submission, or the end of the step before, to its commit.

    `model_time_s` is the rank's part of it. What is left is what the engine costs: planning ahead hides the rest.
    """

    step_time_s: float
    model_time_s: float
    num_prefill_tokens: int
    num_decode_tokens: int
    num_saved_blocks: int  # to host memory
    num_loaded_blocks: int  # from there


class MemoryPart(StrEnum):
    """What a rank's memory goes to."""

    RUNTIME = "runtime"  # the process, and what libraries keep
    WEIGHTS = "weights"
    BUFFERS = "buffers"  # tables of tokens, blocks and rotations
    STEP = "step"  # the largest step, at its worst moment
    GRAPHS = "graphs"
    KV = "kv"


@dataclass(frozen=True, slots=True)
class MemoryStats:
    """Bytes of the fullest rank, by part."""

    predicted: Mapping[MemoryPart, int]
    actual: Mapping[MemoryPart, int]


class EngineObserver(Protocol):
    """Called in the engine's thread; must be quick and must not raise."""

    def on_state(self, state: EngineStats) -> None: ...

    def on_step(self, stats: StepStats) -> None: ...

    def on_admitted(
        self, queue_time_s: float, num_prompt_tokens: int, num_cached_tokens: int, num_host_tokens: int
    ) -> None: ...

    def on_readmitted(self, num_restored_tokens: int, num_recomputed_tokens: int) -> None:
        """A preempted sequence runs again: of the tokens that it had computed so many were found, so many were not."""
        ...

    def on_abandoned(self) -> None:
        """A preempted sequence was aborted before it could run again."""
        ...

    def on_expired(self, num_requests: int) -> None:
        """Requests had waited too long to be admitted."""
        ...

    def on_first_token(self, time_s: float) -> None:
        """A sequence that began here has its first token, so long after it came."""
        ...

    def on_finished(self, reason: FinishReason, num_output_tokens: int) -> None: ...


class DraftFallback(StrEnum):
    """Why a row that could have had guesses went without."""

    NO_GUESS = "no_guess"  # nobody had one
    NOT_WORTH = "not_worth"  # more time than it would have saved
    INVALID = "invalid"  # no token ids of this model
    PLAIN_TURN = "plain_turn"  # plain steps are timed now and then


@dataclass(frozen=True, slots=True)
class DraftStats:
    """One draft that the target has checked."""

    source: str  # a `spec.types.DraftSource`
    num_drafted: int
    num_accepted: int


class SpeculationObserver(Protocol):
    """Called in the engine's thread; must be quick and must not raise."""

    def on_drafts(self, drafts: Sequence[DraftStats]) -> None: ...

    def on_fallback(self, reason: DraftFallback, num_rows: int) -> None: ...

    def on_speedup(self, ratio: float) -> None: ...


class NullObserver:
    """Looks away; an `EngineObserver` and a `SpeculationObserver`."""

    def on_state(self, state: EngineStats) -> None:
        pass

    def on_step(self, stats: StepStats) -> None:
        pass

    def on_admitted(
        self, queue_time_s: float, num_prompt_tokens: int, num_cached_tokens: int, num_host_tokens: int
    ) -> None:
        pass

    def on_readmitted(self, num_restored_tokens: int, num_recomputed_tokens: int) -> None:
        pass

    def on_abandoned(self) -> None:
        pass

    def on_expired(self, num_requests: int) -> None:
        pass

    def on_first_token(self, time_s: float) -> None:
        pass

    def on_finished(self, reason: FinishReason, num_output_tokens: int) -> None:
        pass

    def on_drafts(self, drafts: Sequence[DraftStats]) -> None:
        pass

    def on_fallback(self, reason: DraftFallback, num_rows: int) -> None:
        pass

    def on_speedup(self, ratio: float) -> None:
        pass
