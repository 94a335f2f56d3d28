"""The target's side of the pool: who drafts what, when it is told, and when a pool is left alone."""

import pytest

from llama4coder.obs.pool import PoolLookup
from llama4coder.spec.forecast import Chain, Forecast
from llama4coder.spec.pool_client import PoolClient, PoolLimits
from llama4coder.spec.pool_messages import Answer
from llama4coder.spec.types import Draft, DraftQuery, DraftSource, RowOutcome
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions
from tests.support.pool_simulation import (
    MAX_CONTEXT_TOKENS,
    MAX_DRAFT_TOKENS,
    SILENCE_TIMEOUT_S,
    Lookups,
    SimulatedReplica,
    Simulation,
)
from tests.support.unreliable import NO_FAULTS, Faults


def begun(simulation: Simulation, number: int, num_prompt_tokens: int = 10) -> None:
    """Requests in turn at every target."""
    targets = [*simulation.targets.values()]
    for index in range(number):
        target = targets[index % len(targets)]
        target.begin(f"r{index}", index, num_prompt_tokens)
        simulation.send(target)
    for replica in simulation.replicas.values():
        simulation.draft(replica)


def sessions(simulation: Simulation) -> list[int]:
    return [replica.host.num_sessions for replica in simulation.replicas.values()]


def replicas(simulation: Simulation) -> list[SimulatedReplica]:
    return [*simulation.replicas.values()]


def lookups(simulation: Simulation) -> list[PoolLookup]:
    """All since the last time, of one target."""
    (target,) = simulation.targets.values()
    kinds, target.observer.kinds = target.observer.kinds, []
    return kinds


def test_every_step_has_a_draft_that_was_made_while_the_one_before_ran() -> None:
    simulation = Simulation(targets=1, replicas=1)
    begun(simulation, 3)
    for _ in range(5):
        drafts = simulation.round()
        assert [len(draft) for draft in drafts.values()] == [MAX_DRAFT_TOKENS] * 3
    assert lookups(simulation) == [PoolLookup.HIT] * 15
    assert replicas(simulation)[0].drafter.num_rounds == 6, "one for all sequences"


def test_draft_says_whose_it_is_and_is_not_longer_than_asked_for() -> None:
    client = PoolClient("t", PoolLimits(1.0, 100), Lookups())
    client.set_replicas(["a"])
    client.begin(GenerateRequest("r", (1, 2, 3), SamplingParams(), StopConditions(9), seed=0))
    (opening,) = client.news(0.0)["a"].openings
    client.receive("a", Answer(1, (Forecast(opening.session, 3, (Chain(3, (4, 5, 6, 7)),)),)), 0.1)
    assert client.propose([DraftQuery("r", (1, 2, 3), 2)]) == {"r": Draft((4, 5), DraftSource.POOL)}
    assert client.propose([DraftQuery("stranger", (1, 2, 3), 2)]) == {}


def test_a_replica_that_still_reads_the_prompt_has_said_what_it_knows() -> None:
    client = PoolClient("t", PoolLimits(1.0, 100), Lookups())
    client.set_replicas(["a"])
    client.begin(GenerateRequest("r", tuple(range(50)), SamplingParams(), StopConditions(9), seed=0))
    (opening,) = client.news(0.0)["a"].openings
    client.receive("a", Answer(1, (Forecast(opening.session, 50, ()),)), 0.1)
    assert not client.may_guess("r")
    client.observe([RowOutcome("r", 50, 0, 0, (50,), has_ended=False)], 0.2)
    assert client.news(0.2)["a"].advances[0].start == 50


def test_the_last_tokens_of_a_long_prompt_are_sent() -> None:
    simulation = Simulation(targets=1, replicas=1)
    begun(simulation, 1, num_prompt_tokens=100)
    (session,) = replicas(simulation)[0].drafter.sessions.values()
    assert (session.opening.start, len(session.opening.token_ids)) == (100 - MAX_CONTEXT_TOKENS, MAX_CONTEXT_TOKENS)


def test_lost_messages_cost_a_draft_and_no_opening() -> None:
    simulation = Simulation(targets=1, replicas=1)
    begun(simulation, 1)
    simulation.round()
    simulation.set_faults(Faults(loss=1.0))
    for _ in range(2):
        assert len(simulation.round()) == 1, "of what it had foreseen"
    simulation.set_faults(NO_FAULTS)
    (session,) = replicas(simulation)[0].drafter.sessions.values()
    lookups(simulation)
    for _ in range(3):
        simulation.round()
    assert lookups(simulation) == [PoolLookup.LATE, PoolLookup.HIT, PoolLookup.HIT]
    assert [*replicas(simulation)[0].drafter.sessions.values()] == [session], "not opened again"


def test_a_replica_started_anew_is_told_everything_again() -> None:
    simulation = Simulation(targets=1, replicas=1)
    begun(simulation, 2)
    simulation.round()
    replicas(simulation)[0].restart()
    lookups(simulation)
    for _ in range(4):
        simulation.round()
    assert lookups(simulation)[-4:] == [PoolLookup.HIT] * 4
    assert lookups(simulation) == []


def test_a_late_wish_for_an_opening_that_was_sent_meanwhile_is_ignored() -> None:
    client = PoolClient("t", PoolLimits(1.0, 100), Lookups())
    client.set_replicas(["a"])
    client.begin(GenerateRequest("r", (1,), SamplingParams(), StopConditions(9), seed=0))
    (opening,) = client.news(0.0)["a"].openings
    client.observe([RowOutcome("r", 1, 0, 0, (2,), has_ended=False)], 0.1)
    assert client.news(0.1)["a"].openings == ()
    wish = Answer(2, wanted=(opening.session,))
    client.receive("a", wish, 0.2)
    assert client.news(0.2)["a"].openings[0].token_ids == (1, 2)
    client.receive("a", wish, 0.3)
    assert client.news(0.3) == {}


def test_sessions_are_spread_over_replicas_and_targets() -> None:
    simulation = Simulation(targets=2, replicas=3)
    begun(simulation, 12)
    assert sum(sessions(simulation)) == 12
    assert max(sessions(simulation)) <= 6
    for _ in range(8):
        simulation.round(time_s=0.5)
    assert sessions(simulation) == [4, 4, 4]


def test_a_target_avoids_replicas_that_others_fill() -> None:
    client = PoolClient("t", PoolLimits(1.0, 100), Lookups())
    client.set_replicas(["a", "b"])
    for name in ("a", "b"):
        client.receive(name, Answer(0, num_other_sessions=5 if name == "a" else 0), 0.0)
    for number in range(4):
        client.begin(GenerateRequest(str(number), (1,), SamplingParams(), StopConditions(9), seed=0))
    assert {name: len(news.openings) for name, news in client.news(0.0).items()} == {"b": 4}


def test_sessions_stay_where_they_are_when_all_is_well() -> None:
    simulation = Simulation(targets=1, replicas=2)
    begun(simulation, 4)
    before = [replica.host.sessions for replica in replicas(simulation)]
    for _ in range(20):
        simulation.round(time_s=0.5)
    assert [replica.host.sessions for replica in replicas(simulation)] == before
    assert set(lookups(simulation)) == {PoolLookup.HIT}


def test_a_new_replica_takes_its_share() -> None:
    simulation = Simulation(targets=1, replicas=1)
    begun(simulation, 8)
    simulation.add_replica()
    for _ in range(20):
        simulation.round(time_s=0.5)
    assert sorted(sessions(simulation)) == [3, 5], "as soon as moving on would gain little"


@pytest.mark.parametrize("reason", ["gone", "draining", "silent"])
def test_sessions_leave_a_replica_that_is(reason: str) -> None:
    simulation = Simulation(targets=1, replicas=2)
    begun(simulation, 4)
    lost, other = replicas(simulation)
    assert sessions(simulation) == [2, 2]
    if reason == "gone":
        simulation.remove_replica(lost.name)
    elif reason == "draining":
        (target,) = simulation.targets.values()
        target.client.receive(lost.name, lost.host.drain()[target.name], simulation.now_s)
    else:
        lost.back.faults = Faults(loss=1.0)
        for _ in range(int(10 * SILENCE_TIMEOUT_S) + 1):
            simulation.round()
    for _ in range(3):
        simulation.round()
    assert other.host.num_sessions == 4
    assert len(simulation.round()) == 4
    assert reason == "gone" or lost.host.num_sessions == 0, "it is told so"


def test_an_idle_target_does_not_mistake_its_own_silence() -> None:
    simulation = Simulation(targets=1, replicas=1)
    begun(simulation, 1)
    replicas(simulation)[0].back.faults = Faults(loss=1.0)
    simulation.round()
    replicas(simulation)[0].back.faults = NO_FAULTS
    simulation.now_s += 100 * SILENCE_TIMEOUT_S
    for _ in range(2):
        simulation.round()
    assert len(simulation.round()) == 1


def news_sent(simulation: Simulation, num_rounds: int) -> int:
    """How many messages a target sends in so many rounds."""
    (target,) = simulation.targets.values()
    (replica,) = replicas(simulation)
    count = 0
    for _ in range(num_rounds):
        simulation.now_s += 0.01
        target.step(simulation.now_s)
        for news in target.client.news(simulation.now_s).values():
            count += 1
            replica.host.receive(news, simulation.now_s)
        simulation.draft(replica)
    return count


def test_a_useless_replica_is_asked_ever_less() -> None:
    simulation = Simulation(targets=1, replicas=0)
    simulation.add_replica(chance_right=0.0)
    begun(simulation, 4)
    assert news_sent(simulation, 100) < 50
    news_sent(simulation, 5000)
    assert news_sent(simulation, 1000) < 20, "in 10 s one trial at most"
    assert lookups(simulation).count(PoolLookup.NO_REPLICA) > 20_000


def test_a_replica_that_has_become_useful_is_used_again() -> None:
    simulation = Simulation(targets=1, replicas=0)
    simulation.add_replica(chance_right=0.0)
    begun(simulation, 4)
    news_sent(simulation, 150)
    replicas(simulation)[0].chance_right = 1.0
    replicas(simulation)[0].restart()
    news_sent(simulation, 1000)
    assert len(simulation.round()) == 4


def test_nobody_asks_nobody_is_told() -> None:
    simulation = Simulation(targets=1, replicas=1)
    begun(simulation, 2)
    (target,) = simulation.targets.values()
    for _ in range(40):
        target.step(simulation.now_s, asks=False)
        simulation.send(target)
    assert replicas(simulation)[0].host.num_sessions == 0
    target.begin("late", 9, 5)
    assert target.client.news(simulation.now_s) == {}
    for _ in range(2):
        simulation.round()
    assert len(simulation.round()) == 3, "opened when they are asked for"


def test_whether_a_draft_is_likely_is_known_before_the_step_has_ended() -> None:
    simulation = Simulation(targets=1, replicas=1)
    (target,) = simulation.targets.values()
    target.begin("r", 1, 5)
    assert not target.client.may_guess("r")
    assert not target.client.may_guess("stranger")
    simulation.send(target)
    simulation.draft(replicas(simulation)[0])
    assert target.client.may_guess("r")


def test_asking_whether_counts_as_asking() -> None:
    simulation = Simulation(targets=1, replicas=0)
    simulation.add_replica(chance_right=0.0)
    begun(simulation, 1)
    (target,) = simulation.targets.values()
    replicas(simulation)[0].restart()
    for _ in range(200):
        simulation.now_s += 0.001
        target.client.may_guess("r0")
        target.step(simulation.now_s, asks=False)
        target.client.news(simulation.now_s)
    assert set(lookups(simulation)) >= {PoolLookup.LATE, PoolLookup.NO_REPLICA}, "it never answers, and is left alone"


@pytest.mark.parametrize(("reads", "num_messages"), [(True, 201), (False, 53)])
def test_a_replica_that_reads_a_long_prompt_is_left_in_peace(reads: bool, num_messages: int) -> None:
    client = PoolClient("t", PoolLimits(60.0, 10_000), Lookups())
    client.set_replicas(["a"])
    client.begin(GenerateRequest("r", tuple(range(5000)), SamplingParams(), StopConditions(999), seed=0))
    sent = [client.news(0.0)]
    for length in range(5000, 5200):
        now_s = length / 1000
        if reads:
            client.receive("a", Answer(len(sent), (Forecast("t/1", 5000, ()),)), now_s)
        client.may_guess("r")
        client.observe([RowOutcome("r", length, 0, 0, (1,), has_ended=False)], now_s)
        sent.append(client.news(now_s))
    assert sum(bool(news) for news in sent) == pytest.approx(num_messages, abs=10)


def test_round_trips_are_measured() -> None:
    simulation = Simulation(targets=1, replicas=1)
    begun(simulation, 1)
    (target,) = simulation.targets.values()
    target.step(simulation.now_s)
    simulation.send(target)
    simulation.now_s += 0.25
    simulation.draft(replicas(simulation)[0])
    assert target.observer.round_trips_s == [0.0, 0.25]
