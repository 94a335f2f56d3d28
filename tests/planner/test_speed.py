"""The steady state of a replica, and how many of them a load needs."""

from dataclasses import dataclass, replace

import pytest

from llama4coder.errors import ConfigError
from llama4coder.planner.drafting import Drafting, DraftPool
from llama4coder.planner.plan import make_plan
from llama4coder.planner.question import Draft
from llama4coder.planner.replica import Guessing, Replica
from llama4coder.planner.shapes import find_model
from llama4coder.planner.step_load import StepLoad
from llama4coder.planner.step_time import StepPart, StepTime
from llama4coder.planner.traffic import Objectives, Work
from tests.planner.questions import WISH, question


@dataclass(frozen=True)
class Linear:
    """Steps of 10 ms, and 0.1 ms more for each token."""

    def step(self, load: StepLoad) -> StepTime:
        return StepTime({StepPart.WEIGHTS: 0.01 + 1e-4 * load.num_tokens if load.num_tokens else 0.0})


WORK = Work(1000, 101)


def replica(most_rows: int = 64, guessing: Guessing | None = None, work: Work = WORK) -> Replica:
    return Replica(Linear(), work, 512, most_rows, guessing)


def test_alone_there_is_nothing_to_wait_for() -> None:
    pace = replica().idle
    assert pace is not None
    assert pace.steady.itl_s == pytest.approx(0.0101, rel=1e-3)
    # 1,000 tokens go in two chunks of 500, each beside the one row that a step is taken to have.
    assert pace.ttft.total_s == pytest.approx(2 * (0.01 + 0.0501), rel=1e-3)


def test_the_batch_obeys_littles_law() -> None:
    pace = replica().at(3.0)
    assert pace is not None
    assert pace.steady.rows == pytest.approx(1 + 3.0 * 100 * pace.steady.itl_s, rel=1e-6)
    seconds_of_prompts = 3.0 * 1000 / pace.steady.chunk_tokens * pace.steady.chunk.total_s
    assert pace.steady.busy == pytest.approx(seconds_of_prompts)


def test_a_request_meets_the_others_and_itself() -> None:
    """r = 1 + l d (10 ms + 0.1 ms r) for prompts that are next to nothing: 26.25 for 2 requests/s of 1,000 tokens."""
    pace = replica(work=Work(1, 1001)).at(2.0)
    assert pace is not None
    assert pace.steady.rows == pytest.approx(26.25, rel=2e-3)


def test_prompts_wait_for_those_before() -> None:
    pace = replica().at(3.0)
    assert pace is not None
    others = round(pace.steady.rows) - 1
    full_s = (0.01 + 1e-4 * 512) * 1000 / (512 - others)
    share = 3.0 * full_s
    assert pace.ttft.prefill_wait_s == pytest.approx(share / (1 - share) * full_s, rel=0.02)
    assert 0 < pace.ttft.step_wait_s < 0.5 * pace.steady.chunk.total_s


def test_slots_are_waited_for_when_they_are_few() -> None:
    few, many = replica(most_rows=4), replica(most_rows=64)
    share = 0.8
    waits = [each.at(share * each.max_rate_per_s) for each in (few, many)]
    assert waits[0] is not None and waits[1] is not None
    held_s = 100 * waits[0].steady.itl_s
    assert waits[0].ttft.slot_wait_s == pytest.approx(0.8 ** (10**0.5 - 1) / (4 * 0.2) * held_s, rel=0.02)
    assert waits[1].ttft.slot_wait_s < 0.1 * waits[0].ttft.slot_wait_s


def test_more_load_is_never_faster_and_ends() -> None:
    paces = [replica().at(share * replica().max_rate_per_s) for share in (0.1, 0.3, 0.5, 0.7, 0.9)]
    times = [(pace.steady.itl_s, pace.ttft.total_s) for pace in paces if pace is not None]
    assert len(times) == 5
    assert times == sorted(times) and sorted(ttft for _, ttft in times) == [ttft for _, ttft in times]
    assert replica().at(1.01 * replica().max_rate_per_s) is None


def test_cached_prompts_cost_less() -> None:
    cached = replica(work=replace(WORK, shared_prefix=0.9))
    assert cached.work.new_tokens == 1000 - 896
    assert cached.max_rate_per_s > 2 * replica().max_rate_per_s


def test_a_slower_replica_carries_less() -> None:
    assert replica().slower(2).max_rate_per_s == pytest.approx(replica().max_rate_per_s / 2, rel=0.01)


def test_guesses_gain_what_the_formula_says() -> None:
    assert Drafting(3, 0.5).tokens_per_step == pytest.approx(1 + 0.5 + 0.25 + 0.125)
    pool = DraftPool(Linear(), hit_rate=0.5, num_outcomes=1, window_tokens=64, round_trip_s=0.001)
    drafting = Drafting(3, 0.5, pool)
    assert drafting.tokens_per_step == pytest.approx(0.5 * 1.875 + 0.5)
    assert drafting.round_s(0.1, 1) == 0.1, "the pool is in time"
    assert drafting.round_s(0.02, 1) == pytest.approx(3 * 0.0101 + 0.001), "the pool is late"


def test_draft_replicas_are_the_fewest_that_are_in_time() -> None:
    pool = DraftPool(Linear(), num_outcomes=1, round_trip_s=0.0)
    drafting = Drafting(2, 0.5, pool)
    assert drafting.pool_replicas(8, 10, verify_s=2 * (0.01 + 0.0020)) == 4
    assert drafting.pool_replicas(8, 10, verify_s=0.001) == 8
    assert Drafting(0, 0.5, pool).pool_replicas(8, 10, 1.0) == 0


def test_guesses_are_fewer_under_load() -> None:
    guessing = replica(guessing=Guessing(0.7, 8))
    alone, loaded = guessing.idle, guessing.at(0.98 * guessing.max_rate_per_s)
    assert alone is not None and loaded is not None
    assert alone.drafting.num_guesses == 8 > loaded.drafting.num_guesses


def test_a_fleet_meets_its_objectives_and_one_less_does_not() -> None:
    objectives = Objectives(ttft_s=1.5, itl_s=0.04)
    plan = make_plan(question(rate_per_s=30.0, objectives=objectives))
    assert plan.fleet is not None and plan.replica is not None
    assert plan.fleet.pace.meets(objectives)
    fewer = plan.replica.at(30.0 / (plan.fleet.num_targets - 1))
    assert fewer is None or not fewer.meets(objectives)
    assert plan.missing_gpus == plan.fleet.num_gpus - 8


def test_without_a_rate_the_hardware_is_filled() -> None:
    plan = make_plan(question())
    assert plan.fleet is not None
    assert (plan.fleet.num_gpus, plan.missing_gpus) == (8, 0)
    assert plan.fleet.pace.utilisation == pytest.approx(0.8, rel=0.01)


def test_less_capacity_makes_waits_longer() -> None:
    plan = make_plan(question())
    assert plan.fleet is not None
    one, ten, more = plan.fleet.shortfalls
    assert one.ttft_s is not None and ten.ttft_s is not None
    assert plan.fleet.pace.ttft.total_s < one.ttft_s < ten.ttft_s
    assert more.utilisation > 1 and more.ttft_s is None
    assert plan.fleet.elasticity > 1


def test_a_price() -> None:
    plan = make_plan(question())
    assert plan.fleet is not None
    per_second = 8 * 3.5 / 3600
    assert plan.fleet.price_per_million_output(3.5) == pytest.approx(per_second / plan.fleet.output_tokens_per_s * 1e6)


def test_a_draft_pool_is_counted() -> None:
    plan = make_plan(question(rate_per_s=1.0, acceptance=0.8, draft=Draft(find_model("llama-3.2-1b"))))
    assert plan.fleet is not None and plan.plain is not None
    assert plan.fleet.num_drafts >= 1
    assert plan.fleet.num_gpus == 2 * plan.fleet.num_targets + plan.fleet.num_drafts
    assert plan.fleet.idle.steady.itl_s < plan.plain.idle.steady.itl_s


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"rate_per_s": -1.0}, "--rate is -1.0: give a number above 0"),
        ({"rate_per_s": float("nan")}, "--rate is nan"),
        ({"rate_per_s": 1e12}, "need more than 16777216 replicas"),
        ({"objectives": Objectives(itl_s=0.001)}, "no number of replicas meets --itl 1: it is"),
        ({"objectives": Objectives(ttft_s=0.01)}, "no number of replicas meets --ttft 10: it is"),
        ({"work": Work(32768, 1)}, "do not fit the context of 32768 tokens"),
        ({"wish": replace(WISH, ranks=16)}, "16 ranks need 16 GPUs and there are 8"),
        ({"acceptance": 1.0}, "an acceptance of 1.0 is no share below 1"),
        (
            {"acceptance": 0.5, "draft": Draft(find_model("llama-3.3-70b")), "gpu": "H100"},
            "draft model llama-3.3-70b does not fit one H100",
        ),
    ],
)
def test_questions_without_an_answer(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        make_plan(question(**changes))  # type: ignore[arg-type]


def test_a_draft_needs_an_acceptance() -> None:
    with pytest.raises(ConfigError, match="--draft needs --acceptance"):
        question(draft=Draft(find_model("llama-3.2-1b")))


@pytest.mark.parametrize(("prompt", "output", "share"), [(0, 1, 0.0), (1, 0, 0.0), (1, 1, 1.5), (1, 1, float("nan"))])
def test_work_that_is_none(prompt: int, output: int, share: float) -> None:
    with pytest.raises(ConfigError):
        Work(prompt, output, share)


@pytest.mark.parametrize(
    ("work", "max_step_tokens", "most_rows"),
    [
        pytest.param(Work(2048, 128), 9216, 640, id="prompts fill almost every step"),
        pytest.param(Work(222, 293), 1024, 1000, id="more sequences than leave room for prompts"),
    ],
)
def test_capacity_is_that_of_full_steps(work: Work, max_step_tokens: int, most_rows: int) -> None:
    """Of a request, all tokens go through a step but the last, and no step takes more than its limit."""
    tokens_per_s = max_step_tokens / (0.01 + 1e-4 * max_step_tokens)
    full = tokens_per_s / (work.prompt_tokens + work.decoded_tokens)
    assert Replica(Linear(), work, max_step_tokens, most_rows).max_rate_per_s == pytest.approx(full, rel=0.03)
