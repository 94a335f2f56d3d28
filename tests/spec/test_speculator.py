"""The speculator: trusts no proposer, waits only where guesses are likely, and gives up where they do not pay."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import pytest

from llama4coder.obs.stats import DraftFallback, DraftStats, NullObserver
from llama4coder.spec.first_of import FirstOf
from llama4coder.spec.ngram import LongMatches, NgramProposer
from llama4coder.spec.speculator import Speculator
from llama4coder.spec.types import Draft, DraftQuery, DraftSource, Proposer, RowOutcome, StepCost
from tests.support.edited_file import edited_file
from tests.support.proposer_contract import make_request
from tests.support.proposers import (
    AlwaysRight,
    FakeProposer,
    Laborious,
    NeverRight,
    OutOfVocabulary,
    Silent,
    SometimesRight,
    all_fakes,
)
from tests.support.speculation_loop import LoopStats, SpeculationLoop

MakeProposer = Callable[[Mapping[str, Sequence[int]]], Proposer]
StepTime = Callable[[int], float]

VOCAB_SIZE = 10_000
MAX_DRAFT = 8


def memory_bound(num_tokens: int) -> float:
    """Up to 200 tokens take as long as one."""
    return 0.02 * max(1.0, num_tokens / 200)


def compute_bound(num_tokens: int) -> float:
    """Every token takes as long as the first."""
    return 0.02 * num_tokens


def random_output(num_tokens: int, seed: int = 0) -> list[int]:
    """No two tokens in a row come twice, or hardly ever."""
    rng = random.Random(seed)
    return [rng.randrange(VOCAB_SIZE // 2) * 2 for _ in range(num_tokens)]


def outputs(num_rows: int, num_tokens: int) -> Mapping[str, Sequence[int]]:
    return {f"r{row}": random_output(num_tokens, row) for row in range(num_rows)}


def speculator(proposer: Proposer, observer: NullObserver | None = None) -> Speculator:
    return Speculator(proposer, VOCAB_SIZE, MAX_DRAFT, observer or NullObserver())


def run(
    make_proposer: MakeProposer,
    step_time_s: StepTime,
    num_rows: int = 1,
    num_tokens: int = 400,
) -> LoopStats:
    texts = outputs(num_rows, num_tokens)
    pairs = [(make_request(name), text) for name, text in texts.items()]
    stats = SpeculationLoop(speculator(make_proposer(texts)), pairs, step_time_s).run()
    assert stats.texts == texts
    return stats


def costly(num_tokens: int) -> float:
    """Every guess costs a tenth of a step."""
    return 0.02 * (1 + 0.1 * num_tokens)


def plain_time_s(num_rows: int, num_tokens: int, step_time_s: StepTime) -> float:
    return num_tokens * step_time_s(num_rows)


# --- trust ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(all_fakes({})))
def test_whatever_a_proposer_does_guesses_are_few_enough_and_tokens(name: str) -> None:
    texts = outputs(3, 200)
    subject = speculator(all_fakes(texts)[name])
    known = {request_id: [1, 2, 3] for request_id in texts}
    for request_id in texts:
        subject.begin(make_request(request_id, prompt=(1, 2, 3)))
    for _ in range(60):
        queries = [DraftQuery(request_id, tokens, 5) for request_id, tokens in known.items()]
        guesses = subject.propose(queries)
        assert set(guesses) <= set(texts)
        assert all(1 <= len(tokens) <= 5 for tokens in guesses.values())
        assert all(0 <= token_id < VOCAB_SIZE for tokens in guesses.values() for token_id in tokens)
        outcomes = []
        for request_id, tokens in known.items():
            drafted = len(guesses.get(request_id, ()))
            outcomes.append(
                RowOutcome(request_id, len(tokens), drafted, 0, (texts[request_id][len(tokens) - 3],), False)
            )
            tokens.append(outcomes[-1].new_token_ids[0])
        subject.observe(outcomes, StepCost(3, 3 + sum(outcome.num_drafted for outcome in outcomes), 0.02))
    for request_id in texts:
        subject.end(request_id)


def test_the_right_part_of_a_bad_answer_counts() -> None:
    stats = run(OutOfVocabulary, memory_bound)
    assert 1.8 < stats.tokens_per_step <= 2


def test_requests_that_want_no_guesses_are_not_begun_and_get_none() -> None:
    texts = outputs(2, 50)
    proposer = AlwaysRight(texts)
    subject = speculator(proposer)
    subject.begin(replace(make_request("r0"), speculates=False))
    subject.begin(make_request("r1"))
    assert (proposer.may_guess("r0"), proposer.may_guess("r1")) == (False, True)
    prompt = make_request("r0").prompt_token_ids
    assert set(subject.propose([DraftQuery("r0", prompt, 4), DraftQuery("r1", prompt, 4)])) == {"r1"}
    assert not subject.wants(["r0"])
    assert subject.wants(["r0", "r1"])


def test_a_proposers_error_is_not_hidden() -> None:
    class Broken(FakeProposer):
        def propose(self, queries: Sequence[DraftQuery]) -> Mapping[str, Draft]:
            raise ZeroDivisionError

    subject = speculator(Broken(outputs(1, 9)))
    subject.begin(make_request("r0"))
    with pytest.raises(ZeroDivisionError):
        subject.propose([DraftQuery("r0", make_request("r0").prompt_token_ids, 4)])


def test_an_ended_request_is_unknown_and_may_come_again() -> None:
    subject = speculator(AlwaysRight(outputs(1, 9)))
    for _ in range(2):
        subject.begin(make_request("r0"))
        subject.end("r0")
        subject.end("r0")
    assert not subject.wants(["r0"])
    assert subject.propose([DraftQuery("r0", make_request("r0").prompt_token_ids, 4)]) == {}


# --- what pays --------------------------------------------------------------------------------------------------------


def test_right_guesses_soon_come_as_long_as_they_may() -> None:
    stats = run(AlwaysRight, memory_bound)
    assert stats.drafted[10] == MAX_DRAFT
    assert stats.tokens_per_step > 7


def test_lengths_follow_acceptance() -> None:
    likely, unlikely = (run(partial(SometimesRight, alpha=alpha), costly) for alpha in (0.9, 0.4))
    assert sum(likely.drafted) / likely.num_steps > 2 * sum(unlikely.drafted) / unlikely.num_steps


@pytest.mark.parametrize("proposer", [NeverRight, Silent])
@pytest.mark.parametrize("step_time_s", [compute_bound, costly])
@pytest.mark.parametrize("num_rows", [1, 16])
def test_useless_guesses_cost_next_to_nothing(
    proposer: type[FakeProposer], step_time_s: StepTime, num_rows: int
) -> None:
    make = (lambda texts: Silent()) if proposer is Silent else proposer
    stats = run(make, step_time_s, num_rows, num_tokens=600)
    assert stats.time_s < 1.05 * plain_time_s(num_rows, 600, step_time_s) + 600 * 0.0005


@pytest.mark.parametrize("num_rows", [1, 16, 128])
@pytest.mark.parametrize("step_time_s", [memory_bound, costly])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.8, 1.0])
def test_no_batch_is_slower_than_plain_decoding(num_rows: int, step_time_s: StepTime, alpha: float) -> None:
    num_tokens = 300 if num_rows < 128 else 100
    stats = run(partial(SometimesRight, alpha=alpha), step_time_s, num_rows, num_tokens)
    assert stats.time_s < plain_time_s(num_rows, num_tokens, step_time_s) / 0.96


def test_refused_guesses_stop_and_are_tried_again_now_and_then() -> None:
    stats = run(NeverRight, costly, num_tokens=2000)
    late = stats.drafted[200:]
    assert 0 < sum(num_drafted > 0 for num_drafted in late) < 0.08 * len(late)


def test_guesses_that_become_right_are_used_again() -> None:
    class Turning(NeverRight):
        def answer(self, query: DraftQuery) -> Sequence[int]:
            wrong = super().answer(query)
            return wrong if len(query.token_ids) < 300 else self.following(query, query.max_tokens)

    stats = run(Turning, costly, num_tokens=3000)
    assert sum(stats.drafted[100:300]) < 0.2 * 200
    assert sum(stats.drafted[-50:]) > 5 * 50


def test_a_large_batch_where_every_token_costs_plans_ahead() -> None:
    stats = run(AlwaysRight, compute_bound, num_rows=64, num_tokens=60)
    assert stats.num_waited <= 5
    assert stats.time_s < 1.05 * plain_time_s(64, 60, compute_bound)


def test_when_nothing_repeats_every_step_is_planned_ahead() -> None:
    stats = run(lambda texts: NgramProposer(), memory_bound, num_rows=4, num_tokens=300)
    assert sum(stats.drafted) <= 40
    assert stats.num_waited < 0.1 * stats.num_steps


def test_a_match_is_noticed_within_two_steps() -> None:
    fresh = random_output(100)
    stats = SpeculationLoop(
        speculator(NgramProposer()),
        [(make_request("a", prompt=[1, *fresh]), [*random_output(50, 7), *fresh])],
        memory_bound,
    ).run()
    first = next(step for step, num_drafted in enumerate(stats.drafted) if num_drafted)
    assert stats.num_steps < 50 + 6 + 100 / 6
    assert first <= 50 + 5


def test_now_and_then_a_plain_step_is_timed() -> None:
    stats = run(AlwaysRight, memory_bound, num_tokens=5000)
    assert stats.drafted[20:].count(0) == pytest.approx(len(stats.drafted) / 129, abs=1)


# --- what it is for ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("predicted", [True, False])
def test_an_edited_file_comes_several_tokens_per_step(seed: int, predicted: bool) -> None:
    old, new = edited_file(seed)
    request = make_request("a", prompt=[9001, *([] if predicted else old)], prediction=old if predicted else [])
    stats = SpeculationLoop(speculator(NgramProposer()), [(request, new)], memory_bound).run()
    assert stats.texts["a"] == new
    assert stats.tokens_per_step > 3
    assert stats.tokens_per_s > 3 / memory_bound(1)


# --- several proposers as one, and what is told -----------------------------------------------------------------------


def test_the_first_that_has_a_guess_gives_it() -> None:
    class Pool(AlwaysRight):
        def propose(self, queries: Sequence[DraftQuery]) -> Mapping[str, Draft]:
            known = [query for query in queries if query.request_id == "pooled"]
            return {name: replace(draft, source=DraftSource.POOL) for name, draft in super().propose(known).items()}

    ngram = NgramProposer()
    everyone = FirstOf([LongMatches(ngram, min_match=4), Pool({"pooled": [7, 7]}), ngram])
    prompts = {"long": (1, 2, 3, 4, 1, 2, 3, 4), "pooled": (1, 2, 3, 1, 2, 3), "short": (5, 2, 3, 6, 8, 2, 3, 6)}
    for name, prompt in prompts.items():
        everyone.begin(make_request(name, prompt))
    drafts = everyone.propose([DraftQuery(name, prompt, 1) for name, prompt in prompts.items()])
    assert {name: (draft.source, draft.token_ids) for name, draft in drafts.items()} == {
        "long": (DraftSource.NGRAM, (1,)),
        "pooled": (DraftSource.POOL, (7,)),
        "short": (DraftSource.NGRAM, (8,)),
    }


class Recorder(NullObserver):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.drafts: list[DraftStats] = []
        self.fallbacks: dict[DraftFallback, int] = {}
        self.speedup = 0.0

    def on_drafts(self, drafts: Sequence[DraftStats]) -> None:
        self.drafts += drafts

    def on_fallback(self, reason: DraftFallback, num_rows: int) -> None:
        self.fallbacks[reason] = self.fallbacks.get(reason, 0) + num_rows

    def on_speedup(self, ratio: float) -> None:
        self.speedup = ratio


def record(make_proposer: MakeProposer, step_time_s: StepTime) -> Recorder:
    texts, recorder = outputs(1, 400), Recorder()
    SpeculationLoop(speculator(make_proposer(texts), recorder), [(make_request("r0"), texts["r0"])], step_time_s).run()
    return recorder


def test_what_became_of_each_draft_is_told() -> None:
    recorder = record(AlwaysRight, memory_bound)
    assert sum(stats.num_accepted for stats in recorder.drafts) > 300
    assert {stats.source for stats in recorder.drafts} == {"ngram"}
    assert recorder.speedup > 5


def test_why_a_row_went_without_is_told() -> None:
    assert record(lambda texts: Silent(), memory_bound).fallbacks.keys() == {DraftFallback.NO_GUESS}
    assert DraftFallback.NOT_WORTH in record(NeverRight, compute_bound).fallbacks
    assert DraftFallback.PLAIN_TURN in record(lambda texts: SometimesRight(texts, 0.5), memory_bound).fallbacks

    class Senseless(FakeProposer):
        def answer(self, query: DraftQuery) -> Sequence[int]:
            return [-5]

    assert record(Senseless, memory_bound).fallbacks[DraftFallback.INVALID] > 0


@pytest.mark.parametrize(("per_token_s", "least_gain"), [(0.001, 3.0), (0.01, 1.2), (0.03, 0.97)])
def test_guesses_that_take_long_are_asked_for_where_they_save_more(per_token_s: float, least_gain: float) -> None:
    """Plain steps take 20 ms; with all guesses right, eight save 160."""
    texts = outputs(1, 2000)
    proposer = Laborious(texts, per_token_s)
    pairs = [(make_request(name), text) for name, text in texts.items()]
    stats = SpeculationLoop(speculator(proposer), pairs, memory_bound, proposer.time_s).run()
    assert stats.texts == texts
    assert plain_time_s(1, 2000, memory_bound) / stats.time_s > least_gain
