"""The drafter beside a target that chooses as its own model does, beside any other, and under any trace of news."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from transformers import LlamaForCausalLM

from llama4coder.sampling.sampler import SamplingRow
from llama4coder.spec.draft_model import DraftModel, Feed
from llama4coder.spec.drafter import DrafterLimits, TreeDrafter
from llama4coder.spec.forecast import Advance, Forecast, Opening
from llama4coder.types import SamplingParams
from tests.support.drafts import Reference, load_draft
from tests.support.models import TINY, write_tiny_llama

LIMITS = DrafterLimits(max_draft_tokens=3, max_forks=6, max_forks_per_place=2, max_sessions=4, max_step_tokens=64)
PROMPT = tuple(range(20, 41))
SEED = 11


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="module")
def model(folder: Path) -> LlamaForCausalLM:
    return write_tiny_llama(folder)


@pytest.fixture
def drafter(folder: Path, model: LlamaForCausalLM) -> TreeDrafter:
    return TreeDrafter(load_draft(folder), LIMITS)


@pytest.fixture(params=[0.0, 0.8])
def sampling(request: pytest.FixtureRequest) -> SamplingParams:
    return SamplingParams(temperature=request.param)


def only(forecasts: Sequence[Forecast]) -> Forecast:
    (forecast,) = forecasts
    return forecast


def opening(name: str, token_ids: Sequence[int], sampling: SamplingParams, start: int = 0) -> Opening:
    return Opening(name, start, tuple(token_ids), sampling, SEED)


def test_the_first_chain_is_what_the_target_says(
    drafter: TreeDrafter, model: LlamaForCausalLM, sampling: SamplingParams
) -> None:
    """Whatever part of its guesses the target verifies at once."""
    text = list(PROMPT)
    expected = [*text, *Reference(model, sampling, SEED).continue_(text, 40)]
    drafter.open(opening("a", text, sampling))
    for num_tokens in (1, 4, 2, 1, 4, 3, 4):
        forecast = only(drafter.forecast())
        (first, *_) = forecast.chains
        assert forecast.num_tokens == first.start == len(text)
        assert list(first.token_ids) == expected[len(text) :][: len(first.token_ids)]
        assert len(first.token_ids) > LIMITS.max_draft_tokens
        assert drafter.advance(Advance("a", len(text), tuple(expected[len(text) :][:num_tokens])))
        text = expected[: len(text) + num_tokens]
        drafter.check_integrity()


def test_every_chain_goes_on_as_the_target_would(
    drafter: TreeDrafter, model: LlamaForCausalLM, sampling: SamplingParams
) -> None:
    """Also after outcomes that no likeness of the models foretells: what is committed is each time another fork."""
    target, text = Reference(model, sampling, SEED), list(PROMPT)
    drafter.open(opening("a", text, sampling))
    for turn in range(5):
        main, *forks = (list(chain.token_ids) for chain in only(drafter.forecast()).chains)
        assert len(forks) == (2 if turn == 0 else LIMITS.max_forks)
        assert main == target.continue_(text, len(main))
        for fork in forks:
            place = next(index for index, pair in enumerate(zip(fork, main, strict=False)) if pair[0] != pair[1])
            assert fork[place] in target.ranked(text + main[:place])[1:3]
            assert fork[place + 1 :] == target.continue_(text + fork[: place + 1], LIMITS.max_draft_tokens)
        taken = forks[turn % len(forks)]
        place = next(index for index, pair in enumerate(zip(taken, main, strict=False)) if pair[0] != pair[1])
        assert drafter.advance(Advance("a", len(text), tuple(taken[: place + 1])))
        text += taken[: place + 1]
        drafter.check_integrity()


def test_after_an_outcome_nobody_foresaw_it_starts_again(
    drafter: TreeDrafter, model: LlamaForCausalLM, sampling: SamplingParams
) -> None:
    target, text = Reference(model, sampling, SEED), list(PROMPT)
    drafter.open(opening("a", text, sampling))
    for _ in range(3):
        (first, *_) = only(drafter.forecast()).chains
        unforeseen = (first.token_ids[0], target.ranked([*text, first.token_ids[0]])[-1])
        assert drafter.advance(Advance("a", len(text), unforeseen))
        text += unforeseen
    (first, *_) = only(drafter.forecast()).chains
    assert list(first.token_ids) == target.continue_(text, len(first.token_ids))
    drafter.check_integrity()


def test_many_sessions_in_one_round(folder: Path, model: LlamaForCausalLM, sampling: SamplingParams) -> None:
    drafter = TreeDrafter(load_draft(folder), LIMITS)
    texts = {name: [*PROMPT[: 5 + index], index] for index, name in enumerate("abcd")}
    for name, text in texts.items():
        drafter.open(opening(name, text, sampling))
    forecasts = {forecast.session: forecast for forecast in drafter.forecast()}
    assert forecasts.keys() == texts.keys()
    for name, text in texts.items():
        (first, *_) = forecasts[name].chains
        assert list(first.token_ids) == Reference(model, sampling, SEED).continue_(text, len(first.token_ids))
    assert drafter.forecast() == []


def test_long_prompts_come_in_bounded_steps_while_others_go_on(drafter: TreeDrafter) -> None:
    greedy = SamplingParams(temperature=0.0)
    drafter.open(opening("long", [5] * 150, greedy))
    drafter.open(opening("short", PROMPT, greedy))
    rounds = [{forecast.session: bool(forecast.chains) for forecast in drafter.forecast()} for _ in range(4)]
    assert rounds == [{"short": True, "long": False}, {"long": False}, {"long": True}, {}]


def test_what_does_not_fit_the_window_is_left_out(drafter: TreeDrafter, model: LlamaForCausalLM) -> None:
    """The model sees the end of the sequence, from its position 0 on; the noise is that of the whole sequence."""
    warm = SamplingParams(temperature=0.8)
    text = [token_id % 500 for token_id in range(1000, 1400)]
    drafter.open(opening("a", text, warm, start=100))
    forecasts = [only(drafter.forecast()) for _ in range(2)]
    assert [bool(forecast.chains) for forecast in forecasts] == [False, True]
    target = Reference(model, warm, SEED)
    assert forecasts[1].chains[0].start == 500
    assert forecasts[1].chains[0].token_ids[0] == target.ranked(text[-128:], position=500)[0]
    assert drafter.advance(Advance("a", 500, tuple(text[:200])))
    forecasts = [only(drafter.forecast()) for _ in range(2)]
    assert forecasts[1].chains[0].token_ids[0] == target.ranked(text[72:200], position=700)[0]
    drafter.check_integrity()


def test_holes_and_strangers_want_an_opening(drafter: TreeDrafter) -> None:
    assert not drafter.advance(Advance("a", 0, (1, 2)))
    drafter.open(opening("a", PROMPT, SamplingParams(temperature=0.0)))
    assert not drafter.advance(Advance("a", len(PROMPT) + 1, (1,)))
    assert drafter.advance(Advance("a", len(PROMPT) - 2, (*PROMPT[-2:], 7)))
    assert only(drafter.forecast()).num_tokens == len(PROMPT) + 1
    assert drafter.advance(Advance("a", 3, PROMPT[3:8]))
    assert drafter.forecast() == []
    drafter.close("a")
    drafter.close("a")
    assert not drafter.advance(Advance("a", len(PROMPT) + 1, (1,)))


def test_without_memory_a_session_gets_nothing_and_the_next_use_takes_it_back(folder: Path) -> None:
    greedy = SamplingParams(temperature=0.0)
    drafter = TreeDrafter(load_draft(folder, num_blocks=7, window_tokens=112), LIMITS)
    drafter.open(opening("a", [5] * 60, greedy))
    assert only(drafter.forecast()).chains
    drafter.open(opening("b", [6] * 60, greedy))
    assert only(drafter.forecast()).chains, "the memory of a session that waits is there for others"
    drafter.advance(Advance("a", 60, (1,)))
    drafter.advance(Advance("b", 60, (1,)))
    assert [forecast.session for forecast in drafter.forecast()] == ["b"]
    drafter.check_integrity()
    assert drafter.forecast() == []
    drafter.advance(Advance("a", 61, (1,)))
    assert only(drafter.forecast()).chains
    drafter.check_integrity()


TOKENS = st.integers(0, int(TINY["vocab_size"]) - 1)
SESSIONS = st.sampled_from("abcdef")


class DrafterMachine(RuleBasedStateMachine):
    """Any sessions, any news, too little memory; guesses are taken as often as anything else."""

    model: DraftModel
    fresh: DraftModel  # the same weights

    @initialize()
    def start(self) -> None:
        self.drafter = TreeDrafter(self.model, LIMITS)
        self.sampling: dict[str, SamplingParams] = {}
        self.texts: dict[str, list[int]] = {}
        self.guesses: dict[str, list[int]] = {}

    @rule(name=SESSIONS, num_tokens=st.integers(0, 150), token_id=TOKENS, warm=st.booleans(), start=st.integers(0, 99))
    def open(self, name: str, num_tokens: int, token_id: int, warm: bool, start: int) -> None:
        text = [token_id] * num_tokens
        self.sampling[name] = SamplingParams(temperature=0.8 * warm)
        self.drafter.open(opening(name, text, self.sampling[name], start))
        self.texts[name] = [0] * start + text
        self.guesses.pop(name, None)

    @precondition(lambda self: self.texts)
    @rule(data=st.data(), num_tokens=st.integers(0, 9), other=st.none() | TOKENS, overlap=st.integers(0, 3))
    def advance(self, data: st.DataObject, num_tokens: int, other: int | None, overlap: int) -> None:
        """Some of a guess, and maybe another token after it; some of what was said before, too."""
        name = data.draw(st.sampled_from(sorted(self.texts)))
        text, guess = self.texts[name], self.guesses.get(name, [])[:num_tokens]
        new = [*guess, *([] if other is None else [other])]
        start = max(0, len(text) - overlap)
        if not self.drafter.advance(Advance(name, start, (*text[start:], *new))):
            del self.texts[name]  # too many sessions: the oldest has gone
            return
        text += new
        if new:
            self.guesses.pop(name, None)

    @precondition(lambda self: self.texts)
    @rule(data=st.data())
    def forecast(self, data: st.DataObject) -> None:
        for forecast in self.drafter.forecast():
            assert forecast.num_tokens == len(self.texts[forecast.session])
            assert all(chain.start == forecast.num_tokens and chain.token_ids for chain in forecast.chains)
            assert len({chain.token_ids for chain in forecast.chains}) == len(forecast.chains)
            assert len(forecast.chains) <= 1 + LIMITS.max_forks
            if forecast.chains:
                chain = data.draw(st.sampled_from(forecast.chains)).token_ids
                self.guesses[forecast.session] = list(chain)
                self.check_last(forecast.session, chain)

    def check_last(self, name: str, chain: Sequence[int]) -> None:
        """The last token of a chain is what a model that has seen nothing else says of all before it."""
        session = self.drafter._sessions.use(name)
        assert session is not None
        known = [*self.texts[name], *chain[:-1]]
        branch = self.fresh.branches.new()
        choice = SamplingRow(self.sampling[name], SEED, len(known))
        ((best, *_),) = self.fresh.extend([Feed(branch, known[session.start :], choice)])
        self.fresh.branches.release(branch)
        assert best == chain[-1]

    @rule(name=SESSIONS)
    def close(self, name: str) -> None:
        self.drafter.close(name)
        self.texts.pop(name, None)

    @invariant()
    def nothing_leaks(self) -> None:
        self.drafter.check_integrity()

    def teardown(self) -> None:
        for name in "abcdef":
            self.drafter.close(name)
        self.model.branches.check_integrity([])


def test_any_trace_of_news(folder: Path, model: LlamaForCausalLM) -> None:
    models = {"model": load_draft(folder, num_blocks=16, window_tokens=96), "fresh": load_draft(folder)}
    machine = type("Machine", (DrafterMachine,), models)
    case = machine.TestCase
    case.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
    case("runTest").runTest()
