"""Decides when to ask a proposer, what to believe of its answers, and how much of them a step should check."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile

from llama4coder.obs.stats import DraftFallback, DraftStats, SpeculationObserver
from llama4coder.spec.controller import Asked, LengthController, Offer
from llama4coder.spec.step_times import StepTimes
from llama4coder.spec.types import Draft, DraftQuery, DraftSource, Proposer, RowOutcome, StepCost
from llama4coder.types import GenerateRequest

_PLAIN_EVERY = 128  # steps, so that the time of one without guesses stays known


class Speculator:
    """Implements `Speculation` over a proposer, which it never trusts: what is too long or no token is cut off."""

    def __init__(
        self,
        proposer: Proposer,
        vocab_size: int,
        max_draft_tokens: int,
        observer: SpeculationObserver,
        times: StepTimes | None = None,
    ) -> None:
        self._proposer = proposer
        self._vocab_size = vocab_size
        self._max_draft_tokens = max_draft_tokens
        self._observer = observer
        self._controller = LengthController(times or StepTimes())
        self._sources: dict[str, DraftSource] = {}  # of each request's last draft, or of what it will likely be
        self._num_drafting_steps = 0  # since the last one without guesses
        self._asked: Asked | None = None  # since the last step was over

    def begin(self, request: GenerateRequest) -> None:
        """See `Proposer.begin`; a request that wants no guesses is not begun."""
        if request.speculates:
            self._proposer.begin(request)
            self._controller.begin(request.request_id)
            self._sources[request.request_id] = DraftSource.NGRAM

    def wants(self, request_ids: Sequence[str]) -> bool:
        """See `Speculation.wants`."""
        offers = [
            Offer(request_id, self._sources[request_id], self._max_draft_tokens)
            for request_id in request_ids
            if request_id in self._sources and self._proposer.may_guess(request_id)
        ]
        return bool(offers) and bool(self._controller.lengths(offers, len(request_ids), asking=True, waiting=True))

    def propose(self, queries: Sequence[DraftQuery]) -> Mapping[str, tuple[int, ...]]:
        """See `Speculation.propose`."""
        able = [query for query in queries if query.request_id in self._sources]
        if self._num_drafting_steps >= _PLAIN_EVERY:
            self._go_without(DraftFallback.PLAIN_TURN, len(able))
            return {}
        drafts = self._believed(self._worth_asking(able, len(queries)))
        lengths = self._worth_checking(drafts, len(queries))
        self._sources |= {request_id: drafts[request_id].source for request_id in lengths}
        return {request_id: drafts[request_id].token_ids[:length] for request_id, length in lengths.items()}

    def observe(self, outcomes: Sequence[RowOutcome], cost: StepCost) -> None:
        """See `Speculation.observe`."""
        known = [outcome for outcome in outcomes if outcome.request_id in self._sources]
        self._proposer.observe(known)
        self._controller.observe(outcomes, self._sources, cost)
        self._controller.observe_asking(self._asked, cost)
        self._asked = None
        drafted = [outcome for outcome in known if outcome.num_drafted]
        self._num_drafting_steps = self._num_drafting_steps + 1 if drafted else 0
        self._observer.on_drafts(
            [DraftStats(self._sources[each.request_id], each.num_drafted, each.num_accepted) for each in drafted]
        )
        self._observer.on_speedup(self._controller.speedup)

    def end(self, request_id: str) -> None:
        """See `Proposer.end`."""
        if self._sources.pop(request_id, None) is not None:
            self._controller.end(request_id)
            self._proposer.end(request_id)

    def close(self) -> None:
        """See `Proposer.close`."""
        self._proposer.close()

    def _worth_asking(self, queries: Sequence[DraftQuery], num_rows: int) -> list[DraftQuery]:
        """Those that are likely to be answered, for no more tokens than are likely to be checked."""
        offers = [
            Offer(query.request_id, self._sources[query.request_id], min(query.max_tokens, self._max_draft_tokens))
            for query in queries
            if self._proposer.may_guess(query.request_id)
        ]
        lengths = self._controller.lengths(offers, num_rows, asking=True)
        self._go_without(DraftFallback.NO_GUESS, len(queries) - len(offers))
        self._go_without(DraftFallback.NOT_WORTH, len(offers) - len(lengths))
        return [
            replace(query, max_tokens=lengths[query.request_id]) for query in queries if query.request_id in lengths
        ]

    def _believed(self, queries: Sequence[DraftQuery]) -> dict[str, Draft]:
        """Answers, cut to what was asked for and before what is no token."""
        answers = self._proposer.propose(queries) if queries else {}
        answered = [query for query in queries if query.request_id in answers]
        self._note_asking(queries, answers)
        drafts = {}
        for query in answered:
            draft = answers[query.request_id]
            token_ids = tuple(takewhile(self._is_token, draft.token_ids[: query.max_tokens]))
            if token_ids:
                drafts[query.request_id] = Draft(token_ids, draft.source)
        self._go_without(DraftFallback.NO_GUESS, len(queries) - len(answered))
        self._go_without(DraftFallback.INVALID, len(answered) - len(drafts))
        return drafts

    def _worth_checking(self, drafts: Mapping[str, Draft], num_rows: int) -> Mapping[str, int]:
        offers = [Offer(request_id, draft.source, len(draft.token_ids)) for request_id, draft in drafts.items()]
        lengths = self._controller.lengths(offers, num_rows)
        self._go_without(DraftFallback.NOT_WORTH, len(drafts) - len(lengths))
        return lengths

    def _note_asking(self, queries: Sequence[DraftQuery], answers: Mapping[str, Draft]) -> None:
        """Who answered most took the time, as far as can be told."""
        sources = Counter(draft.source for draft in answers.values()).most_common(1)
        for source, _ in sources:
            self._asked = Asked(source, len(queries), max(query.max_tokens for query in queries))

    def _is_token(self, token_id: int) -> bool:
        return 0 <= token_id < self._vocab_size

    def _go_without(self, reason: DraftFallback, num_rows: int) -> None:
        if num_rows:
            self._observer.on_fallback(reason, num_rows)
