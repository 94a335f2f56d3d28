"""A replica's side of the pool: one drafter, many targets that come, go and repeat themselves."""

from llama4coder.spec.forecast import Advance, Opening
from llama4coder.spec.pool_host import PoolHost
from llama4coder.spec.pool_messages import News
from llama4coder.types import SamplingParams
from tests.support.known_sequences import token_at
from tests.support.oracle_drafter import OracleDrafter

TIMEOUT_S = 10.0


def tokens(start: int, end: int) -> tuple[int, ...]:
    return tuple(token_at(1, position) for position in range(start, end))


def opening(session: str, end: int = 3) -> Opening:
    return Opening(session, 0, tokens(0, end), SamplingParams(), seed=1)


def host_of() -> tuple[PoolHost, OracleDrafter]:
    drafter = OracleDrafter(token_at)
    return PoolHost(drafter, TIMEOUT_S), drafter


def test_each_target_hears_of_its_own_sessions_in_one_round() -> None:
    host, drafter = host_of()
    host.receive(News("a", 1, (opening("a/1"), opening("a/2"))), 0.0)
    host.receive(News("b", 7, (opening("b/1"),)), 0.0)
    answers = host.round(0.0)
    assert drafter.num_rounds == 1
    assert {name: {one.session for one in answer.forecasts} for name, answer in answers.items()} == {
        "a": {"a/1", "a/2"},
        "b": {"b/1"},
    }
    assert {name: answer.number for name, answer in answers.items()} == {"a": 1, "b": 7}
    assert {name: answer.num_other_sessions for name, answer in answers.items()} == {"a": 1, "b": 2}
    assert host.round(0.0) == {}, "nothing to do"


def test_news_are_answered_even_if_there_is_nothing_to_forecast() -> None:
    host, _ = host_of()
    host.receive(News("a", 1, closings=("a/1",)), 0.0)
    assert host.round(0.0)["a"].number == 1


def test_old_and_repeated_news_are_as_good_as_lost() -> None:
    host, drafter = host_of()
    host.receive(News("a", 2, (opening("a/1", 5),)), 0.0)
    for number in (1, 2):
        host.receive(News("a", number, (opening("a/1", 3),), closings=("a/1",)), 0.0)
    assert drafter.sessions["a/1"].num_tokens == 5


def test_unknown_sessions_and_gaps_are_asked_for_once() -> None:
    host, _ = host_of()
    host.receive(News("a", 1, (opening("a/1", 3),), (Advance("a/2", 3, tokens(3, 4)),)), 0.0)
    host.receive(News("a", 2, (), (Advance("a/1", 4, tokens(4, 5)),)), 0.0)
    assert set(host.round(0.0)["a"].wanted) == {"a/1", "a/2"}
    host.receive(News("a", 3, (opening("a/1", 5),)), 0.0)
    assert host.round(0.0)["a"].wanted == ()


def test_a_target_cannot_touch_the_sessions_of_another() -> None:
    host, drafter = host_of()
    host.receive(News("a", 1, (opening("a/1", 3),)), 0.0)
    host.receive(News("b", 1, (opening("a/1", 9),), (Advance("a/1", 3, tokens(3, 4)),), ("a/1",)), 0.0)
    assert drafter.sessions["a/1"].num_tokens == 3


def test_what_is_not_heard_of_is_forgotten() -> None:
    host, drafter = host_of()
    host.receive(News("a", 1, (opening("a/1"), opening("a/2"))), 0.0)
    host.receive(News("a", 2, (), (Advance("a/1", 3, tokens(3, 4)),)), TIMEOUT_S)
    host.round(TIMEOUT_S + 1)
    assert [*drafter.sessions] == ["a/1"]
    assert host.targets == {"a"}
    host.round(2 * TIMEOUT_S + 1)
    assert (host.num_sessions, [*drafter.sessions], host.targets) == (0, [], frozenset())


def test_draining_is_told_to_all_at_once_and_ever_after() -> None:
    host, _ = host_of()
    host.receive(News("a", 1, (opening("a/1"),)), 0.0)
    assert host.drain()["a"].is_draining
    host.receive(News("b", 1, (opening("b/1"),)), 0.0)
    assert all(answer.is_draining for answer in host.round(0.0).values())
