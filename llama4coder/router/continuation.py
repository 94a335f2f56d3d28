"""One request over as many replicas as it takes: what has arrived, what to ask for next, and when to give up.

No clock: whoever calls says what time it is, as to the router.
"""

from dataclasses import replace

from llama4coder.errors import DeadlineExceeded, NotBegun, Overloaded, QueueTimeout, Replaced, Unavailable
from llama4coder.types import GenerateRequest, TokenEvent

_MAX_FRUITLESS = 3  # replicas lost in a row without a new token: this request may be what they die of
_FIRST_PAUSE_S = 0.1
_MAX_PAUSE_S = 2.0


class Continuation:
    """Asks a second replica to go on exactly where the first one was lost; whoever reads the events sees a pause."""

    def __init__(self, request: GenerateRequest, recovery_timeout_s: float) -> None:
        self._original = request
        self._recovery_timeout_s = recovery_timeout_s
        self._patience_s = recovery_timeout_s  # what is left of it: every loss takes from the same
        self._token_ids = list(request.output_token_ids)
        self._has_begun = False
        self._has_detoured = False
        self._num_attempts = 0
        self._num_fruitless = 0
        self._pause_s = _FIRST_PAUSE_S
        self.deadline_s: float | None = None  # for the next event, on the caller's clock; None unless one was lost

    def next_request(self) -> GenerateRequest:
        """What the next replica is to be asked for, under an id of its own: what an earlier one sends is stale."""
        self._num_attempts += 1
        if self._num_attempts == 1:
            return self._original
        sampling = self._original.sampling
        return replace(
            self._original,
            request_id=f"{self._original.request_id}~{self._num_attempts}",
            output_token_ids=tuple(self._token_ids),
            sampling=replace(sampling, num_prompt_logprobs=None) if self._has_begun else sampling,
        )

    def take(self, event: TokenEvent, now_s: float) -> TokenEvent:
        """An event as the reader shall see it: as if there were one replica."""
        self._token_ids += event.token_ids
        seen = replace(event, request_id=self._original.request_id)
        if self._has_begun:
            seen = replace(seen, num_cached_tokens=0, queue_time_s=0.0, prompt_logprobs=())
        self._has_begun = True
        self._num_fruitless = 0
        self._pause_s = _FIRST_PAUSE_S
        if self.deadline_s is not None:
            self._patience_s = self.deadline_s - now_s
            self.deadline_s = None
        return seen

    def take_detour(self) -> bool:
        """Whether a request that was refused before it began may try elsewhere at once: the first time."""
        may_try = not self._has_detoured and self.deadline_s is None
        self._has_detoured = True
        return may_try

    def pause_after(self, error: Unavailable | Overloaded, now_s: float) -> float:
        """Seconds to wait before the next attempt; raises `error`, or what it has come to, if there is to be none.

        `QueueTimeout` is final: no replica was lost, nothing had begun, and the client has waited long enough.
        """
        if isinstance(error, DeadlineExceeded | QueueTimeout) or (
            isinstance(error, Overloaded) and self.deadline_s is None
        ):
            raise error
        if not isinstance(error, Overloaded | NotBegun):
            self._num_fruitless += 1
        if self._num_fruitless >= _MAX_FRUITLESS:
            raise error
        if isinstance(error, Replaced):
            self._pause_s = _MAX_PAUSE_S  # one that could go on may be about to be known
        if self.deadline_s is None:
            self.deadline_s = now_s + self._patience_s
        if now_s + self._pause_s > self.deadline_s:
            raise self.expired()
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, _MAX_PAUSE_S)
        return pause_s

    def expired(self) -> DeadlineExceeded:
        """What the reader is told when `deadline_s` has passed."""
        return DeadlineExceeded(f"the replica was lost, and no other took over within {self._recovery_timeout_s:g} s")
