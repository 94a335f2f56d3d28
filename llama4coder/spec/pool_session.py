"""One request as the target's side of the pool sees it."""

from collections.abc import Sequence
from dataclasses import dataclass

from llama4coder.obs.pool import PoolLookup
from llama4coder.spec.forecast import Advance, Forecast, Opening
from llama4coder.spec.pool_chains import Chains
from llama4coder.types import GenerateRequest

_MAX_REPEATED = 32  # tokens that an advance says again, in case that the message before was lost
_IDLE_STEPS = 32  # a sequence that has not been asked for so long is not drafted any more
_SILENT_STEPS = 16  # for so long a replica is excused that says nothing of a sequence
_READING_STEPS = 256  # and for so long one that still reads the prompt


@dataclass(frozen=True, slots=True, repr=False)
class Found:
    """What a session had for a step; without tokens, why not."""

    kind: PoolLookup
    token_ids: tuple[int, ...]

    def was_useful(self, new_token_ids: Sequence[int]) -> bool:
        """Whether its first guess has come true."""
        return bool(self.token_ids) and self.token_ids[:1] == tuple(new_token_ids[:1])


class PoolSession:
    """Its tokens, what its replica was told of them, and what came back."""

    def __init__(self, name: str, request: GenerateRequest, *, is_wanted: bool) -> None:
        self.name = name
        self.token_ids = [*request.prompt_token_ids, *request.output_token_ids]
        self.replica: str | None = None  # that drafts it
        self.opened_with: int | None = None  # the number of the news that opened it there
        self._sampling = request.sampling
        self._seed = request.seed
        self._chains = Chains()
        self._num_sent = 0
        self._num_known = 0  # tokens that its replica has shown to know
        self._num_before = len(self.token_ids)  # tokens before the latest step
        self._steps_unasked = 0 if is_wanted else _IDLE_STEPS
        self._steps_open = 0
        self.found: Found | None = None  # for the step to come, if somebody has asked

    @property
    def is_wanted(self) -> bool:
        """Whether somebody has asked for drafts of it lately."""
        return self._steps_unasked < _IDLE_STEPS

    @property
    def has_news(self) -> bool:
        return self._num_sent < len(self.token_ids)

    @property
    def should_be_answered(self) -> bool:
        """Whether its replica has begun to guess, or has had the time to."""
        excused_steps = _READING_STEPS if self._num_known else _SILENT_STEPS
        return self._chains.num_tokens > 0 or self._steps_open > excused_steps

    def assign(self, replica: str | None) -> None:
        """Give it to a replica, which knows nothing of it yet, or to none."""
        self.replica = replica
        self.opened_with = None
        self._num_known = 0
        self._chains.clear()

    def reopen(self, answered: int) -> None:
        """Its replica cannot follow, as it says in its answer to news `answered`."""
        if self.opened_with is not None and answered >= self.opened_with:
            self.assign(self.replica)

    def opening(self, number: int, max_tokens: int) -> Opening:
        """What opens it at its replica, with its last tokens; part of news `number`."""
        self.opened_with = number
        self._num_sent = len(self.token_ids)
        self._steps_open = 0
        start = max(0, len(self.token_ids) - max_tokens)
        return Opening(self.name, start, tuple(self.token_ids[start:]), self._sampling, self._seed)

    def advance(self) -> Advance:
        """The tokens that its replica has not shown to know, but for those that it was told long ago."""
        start = max(self._num_known, self._num_sent - _MAX_REPEATED)
        self._num_sent = len(self.token_ids)
        return Advance(self.name, start, tuple(self.token_ids[start:]))

    def take(self, forecast: Forecast) -> None:
        """Keep what came for it, unless it is of more tokens than there are."""
        if 0 < forecast.num_tokens <= len(self.token_ids):
            self._num_known = max(self._num_known, forecast.num_tokens)
            self._chains.add(forecast)

    def may_guess(self) -> bool:
        """Whether there is a draft, and will probably be one when a running step has added a token."""
        self._steps_unasked = 0
        has_draft = bool(self._chains.draft(self.token_ids))
        self.found = None if has_draft else Found(self._lack(), ())
        return has_draft

    def look_up(self, token_ids: Sequence[int], max_tokens: int) -> tuple[int, ...]:
        """The draft that follows `token_ids`, which are all tokens that there are."""
        self.token_ids += token_ids[len(self.token_ids) :]
        self._steps_unasked = 0
        draft = self._chains.draft(self.token_ids)[:max_tokens]
        self.found = Found(PoolLookup.HIT if draft else self._lack(), draft)
        return draft

    def step(self, new_token_ids: Sequence[int]) -> None:
        """Append what a step has added."""
        self.found = None
        self._num_before = len(self.token_ids)
        self.token_ids += new_token_ids
        self._steps_unasked += 1
        self._steps_open += 1

    def _lack(self) -> PoolLookup:
        """Why there is no draft."""
        if self.replica is None:
            return PoolLookup.NO_REPLICA
        if self._chains.num_tokens == 0:
            return PoolLookup.OPENING
        return PoolLookup.MISS if self._chains.num_tokens >= self._num_before else PoolLookup.LATE
