"""The draft-length controller: learns how often guesses are right and how long steps take, and weighs the two."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llama4coder.spec.acceptance import Acceptance
from llama4coder.spec.guess_times import GuessTimes
from llama4coder.spec.lengths import choose_lengths
from llama4coder.spec.speedup import Speedup
from llama4coder.spec.step_times import StepTimes
from llama4coder.spec.types import DraftSource, RowOutcome, StepCost

_WAIT_S = 0.0003  # between a step's end and the planning of the next one; the rest of the wait is in the steps' times


@dataclass(frozen=True, slots=True)
class Offer:
    """So many guesses that a step could check."""

    request_id: str
    source: DraftSource
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What a proposer was last asked for, and who answered."""

    source: DraftSource
    num_rows: int
    num_tokens: int  # at most, of each row


class LengthController:
    """Pure: times come with the steps' costs."""

    def __init__(self, times: StepTimes) -> None:
        self._times = times
        self._guess_times = GuessTimes()
        self._acceptance = Acceptance()
        self._speedup = Speedup()

    @property
    def speedup(self) -> float:
        """Of recent steps over plain decoding, estimated."""
        return self._speedup.ratio

    def begin(self, request_id: str) -> None:
        """A request that may have guesses."""
        self._acceptance.begin(request_id)

    def end(self, request_id: str) -> None:
        """Forget a request; unknown ones are ignored."""
        self._acceptance.end(request_id)

    def lengths(
        self, offers: Sequence[Offer], num_rows: int, *, asking: bool = False, waiting: bool = False
    ) -> Mapping[str, int]:
        """How many guesses are worth checking in a step of `num_rows` rows; requests with none are left out.

        `asking` counts what it will take to make them, and `waiting` what it costs to wait until they can be.
        """
        gains = [self._acceptance.rates(offer.request_id, offer.source).gains(offer.num_tokens) for offer in offers]
        times_s = self._times.predict(num_rows, sum(map(len, gains)))
        times_s[1:] += _WAIT_S if waiting else 0.0
        if asking and offers:
            times_s += self._guess_s(offers) * np.ceil(np.arange(len(times_s)) / len(offers))
        lengths = choose_lengths(gains, num_rows, times_s).of_rows
        return {offer.request_id: length for offer, length in zip(offers, lengths, strict=True) if length}

    def observe_asking(self, asked: Asked | None, cost: StepCost) -> None:
        """A step is over, before which somebody was asked, or nobody."""
        if asked is None:
            self._guess_times.pass_over()
        else:
            self._guess_times.observe(asked.source, asked.num_rows, asked.num_tokens, cost.guess_s)

    def observe(self, outcomes: Sequence[RowOutcome], sources: Mapping[str, DraftSource], cost: StepCost) -> None:
        """A step is over; `sources` says of each begun request whose guesses it had, if any."""
        self._times.observe(cost.num_tokens, cost.time_s)
        known = [outcome for outcome in outcomes if outcome.request_id in sources]
        verdicts = [self._judge(outcome, sources[outcome.request_id]) for outcome in known]
        if not any(verdicts):
            self._acceptance.pass_over_all()
        self._note_speedup(outcomes, cost)

    def _judge(self, outcome: RowOutcome, source: DraftSource) -> bool:
        """Whether there was anything to judge: guesses after a request's end were neither right nor wrong."""
        num_judged = outcome.num_accepted if outcome.has_ended else outcome.num_drafted
        if num_judged:
            self._acceptance.observe(outcome.request_id, source, num_judged, outcome.num_accepted)
        else:
            self._acceptance.pass_over(outcome.request_id)
        return num_judged > 0

    def _note_speedup(self, outcomes: Sequence[RowOutcome], cost: StepCost) -> None:
        """Steps that prefilled anything besides say nothing about it."""
        num_drafted = sum(outcome.num_drafted for outcome in outcomes)
        if outcomes and cost.num_tokens == len(outcomes) + num_drafted:
            num_new = sum(len(outcome.new_token_ids) for outcome in outcomes)
            plain_s = float(self._times.predict(len(outcomes), 0)[0]) * num_new / len(outcomes)
            self._speedup.observe(plain_s, cost.time_s + cost.guess_s)

    def _guess_s(self, offers: Sequence[Offer]) -> float:
        """Of one more token for each; whoever takes longest is waited for by all."""
        counts = Counter(offer.source for offer in offers)
        return max(self._guess_times.per_token_s(source, number) for source, number in counts.items())
