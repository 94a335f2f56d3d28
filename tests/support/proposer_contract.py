"""What every `Proposer` must do, and a loop that plays an engine whose output is known beforehand."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest

from llama4coder.spec.types import Draft, DraftQuery, Proposer, RowOutcome
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions

VOCAB_SIZE = 64
PROMPT = (3, 4, 5, 6, 7, 8, 9, 3, 4, 5)
OUTPUT = (6, 7, 8, 9, 3, 4, 5, 6, 7, 20, 21, 6, 7, 8, 9, 3)


def make_request(request_id: str, prompt: Sequence[int] = PROMPT, prediction: Sequence[int] = ()) -> GenerateRequest:
    """A request that only its length ends."""
    return GenerateRequest(
        request_id, tuple(prompt), SamplingParams(), StopConditions(64), seed=11, prediction_token_ids=tuple(prediction)
    )


@dataclass(frozen=True, slots=True)
class Round:
    """One step of one request: what was asked, what came, and what became of it."""

    query: DraftQuery
    draft: Draft | None
    outcome: RowOutcome


def play(proposer: Proposer, request: GenerateRequest, output: Sequence[int], max_tokens: int = 4) -> list[Round]:
    """Generate all of `output` with a proposer's help, from `begin` to `end`."""
    proposer.begin(request)
    known = [*request.prompt_token_ids, *request.output_token_ids]
    everything = [*request.prompt_token_ids, *output]
    rounds = []
    while len(known) < len(everything):
        query = DraftQuery(request.request_id, tuple(known), max_tokens)
        draft = proposer.propose([query]).get(request.request_id)
        rounds.append(Round(query, draft, verify(query, draft, everything[len(known) :])))
        known += rounds[-1].outcome.new_token_ids
        proposer.observe([rounds[-1].outcome])
    proposer.end(request.request_id)
    return rounds


def verify(query: DraftQuery, draft: Draft | None, following: Sequence[int]) -> RowOutcome:
    """What a step makes of a draft when the target's own tokens are `following`, of which there is at least one."""
    guesses = () if draft is None else draft.token_ids
    pairs = zip(guesses, following, strict=False)
    num_accepted = next((n for n, (guess, own) in enumerate(pairs) if guess != own), min(len(guesses), len(following)))
    new = tuple(following[: num_accepted + 1])
    return RowOutcome(
        query.request_id, len(query.token_ids), len(guesses), num_accepted, new, has_ended=len(new) == len(following)
    )


class LifecycleContract:
    """What even a broken one must do; subclass it, and give a `proposer` fixture."""

    @pytest.fixture
    def proposer(self) -> Iterator[Proposer]:
        raise NotImplementedError

    def test_a_request_from_its_beginning_to_its_end(self, proposer: Proposer) -> None:
        rounds = play(proposer, make_request("a"), OUTPUT)
        assert 1 <= len(rounds) <= len(OUTPUT)

    def test_requests_side_by_side_are_told_apart(self, proposer: Proposer) -> None:
        """One that only decodes plainly, one that is asked about, one that is only begun."""
        for name in ("plain", "asked", "idle"):
            proposer.begin(make_request(name))
        known = list(PROMPT)
        for token_id in OUTPUT:
            proposer.propose([DraftQuery("asked", tuple(known), 3)])
            proposer.observe([RowOutcome(name, len(known), 0, 0, (token_id,), False) for name in ("plain", "asked")])
            known.append(token_id)
        for name in ("plain", "asked", "idle"):
            proposer.end(name)

    def test_nothing_asked_nothing_told(self, proposer: Proposer) -> None:
        assert not [name for name in proposer.propose([]) if name != "nobody"]
        proposer.observe([])

    def test_unknown_requests_are_no_error(self, proposer: Proposer) -> None:
        assert not proposer.may_guess("unknown")
        proposer.observe([RowOutcome("unknown", 4, 0, 0, (5,), False)])
        proposer.propose([DraftQuery("unknown", PROMPT, 3)])
        proposer.end("unknown")

    def test_after_its_end_a_request_is_forgotten_and_may_come_again(self, proposer: Proposer) -> None:
        play(proposer, make_request("a"), OUTPUT)
        assert not proposer.may_guess("a")
        play(proposer, make_request("a"), OUTPUT)

    def test_a_request_that_was_begun_elsewhere(self, proposer: Proposer) -> None:
        rounds = play(proposer, replace(make_request("a"), output_token_ids=OUTPUT[:5]), OUTPUT)
        assert rounds[0].outcome.num_tokens_before == len(PROMPT) + 5

    def test_the_shortest_prompt(self, proposer: Proposer) -> None:
        play(proposer, make_request("a", prompt=(1,)), OUTPUT)

    @pytest.fixture
    def others(self) -> Sequence[threading.Thread]:
        """Threads that were there before the proposer."""
        return threading.enumerate()

    def test_close_is_idempotent_and_leaves_no_thread(
        self, others: Sequence[threading.Thread], proposer: Proposer
    ) -> None:
        proposer.begin(make_request("a"))
        proposer.close()
        proposer.close()
        assert [thread for thread in threading.enumerate() if thread not in others] == []


class ProposerContract(LifecycleContract):
    """What one that is not broken must do besides."""

    @pytest.mark.parametrize("max_tokens", [1, 2, 8])
    def test_guesses_are_tokens_and_no_more_than_asked_for(self, proposer: Proposer, max_tokens: int) -> None:
        for round_ in play(proposer, make_request("a", prediction=OUTPUT), OUTPUT, max_tokens):
            if round_.draft is not None:
                assert 1 <= len(round_.draft.token_ids) <= max_tokens
                assert all(0 <= token_id < VOCAB_SIZE for token_id in round_.draft.token_ids)

    def test_only_who_was_asked_about_is_answered(self, proposer: Proposer) -> None:
        for name in ("a", "b"):
            proposer.begin(make_request(name))
        assert set(proposer.propose([DraftQuery("a", PROMPT, 3)])) <= {"a"}
        assert set(proposer.propose([])) == set()

    def test_an_ended_request_is_not_answered(self, proposer: Proposer) -> None:
        proposer.begin(make_request("a"))
        proposer.end("a")
        assert proposer.propose([DraftQuery("a", PROMPT, 3)]) == {}
