"""The router over views: what is reported, what was sent since, and what gets lost on the way."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama4coder.obs.routing import RouteReason
from llama4coder.router.kv_aware import KVAware
from llama4coder.router.least_load import LeastLoad
from llama4coder.router.messages import NameChange, Report
from llama4coder.router.policy import Policy
from llama4coder.router.router import Router
from llama4coder.router.types import Route
from tests.support.replicas import BLOCK_SIZE, prompt_of, report, request

NOBODY = frozenset[str]()


def router_of(*reports: Report, policy: Policy | None = None) -> Router:
    router = Router(policy or KVAware(), BLOCK_SIZE)
    for each in reports:
        router.receive(each, 0.0)
    return router


def replica_of(route: Route | None) -> str:
    assert route is not None
    return route.replica


class TestKnowing:
    def test_nothing_is_known_at_first(self) -> None:
        assert router_of().route(request("1", [1]), NOBODY, 0.0) is None

    def test_the_silent_are_left_out_and_all_of_them_are_nobody(self) -> None:
        router = router_of(report("a"))
        router.receive(report("b", num_running=5), 10.0)
        assert replica_of(router.route(request("1", [1]), NOBODY, 10.5)) == "b"
        assert router.route(request("2", [1]), NOBODY, 20.0) is None
        router.receive(report("a", 2), 20.0)
        assert replica_of(router.route(request("3", [1]), NOBODY, 20.0)) == "a"

    def test_age_of_the_oldest_report_is_told(self) -> None:
        router = router_of(report("a"))
        router.receive(report("b"), 0.5)
        assert router.oldest_report_s(1.0) == 1.0
        router.receive(report("b", 2), 10.0)
        assert router.oldest_report_s(10.0) == 10.0, "of the silent one, which is not chosen"
        router.keep({"b"})
        assert router.oldest_report_s(10.5) == 0.5
        router.keep(())
        assert router.oldest_report_s(10.5) == 0.0

    def test_whoever_has_gone_is_forgotten(self) -> None:
        router = router_of(report("a"), report("b", num_running=5))
        router.keep({"b"})
        assert replica_of(router.route(request("1", [1]), NOBODY, 0.0)) == "b"

    def test_a_lost_replica_comes_back_when_it_is_known_to_live(self) -> None:
        router = router_of(report("a"), report("b", num_running=5))
        router.lost("a")
        router.receive(report("a", 2), 0.1)  # was on its way
        assert replica_of(router.route(request("1", [1]), NOBODY, 0.1)) == "b"
        router.keep({"a", "b"})
        router.receive(report("a", 3), 0.2)
        assert replica_of(router.route(request("2", [1]), NOBODY, 0.2)) == "a"

    def test_an_older_report_changes_nothing(self) -> None:
        router = router_of(report("a", 2), report("b", num_running=1))
        router.receive(report("a", 1, num_running=50), 0.1)
        assert replica_of(router.route(request("1", [1]), NOBODY, 0.1)) == "a"

    @pytest.mark.parametrize("number", [1, 2])
    def test_a_damaged_report_is_refused_whole(self, number: int) -> None:
        router = router_of(*[report("a")] * (number - 1), report("b", num_running=3))
        damaged = replace(report("a", number, num_running=50), names=NameChange(is_full=True, added=b"odd"))
        with pytest.raises(ValueError, match="3 bytes"):
            router.receive(damaged, 0.0)
        assert replica_of(router.route(request("1", [1]), NOBODY, 0.0)) == ("b" if number == 1 else "a")


class TestChoosing:
    def test_a_prefix_draws_its_requests(self) -> None:
        router = router_of(report("a"), report("b", cached=prompt_of(1, 320), num_running=3))
        route = router.route(request("1", prompt_of(1, 320)), NOBODY, 0.0)
        assert route == Route("b", RouteReason.PREFIX, 320)

    def test_one_token_must_be_computed(self) -> None:
        router = router_of(report("a", cached=range(320)), report("b", num_running=9))
        route = router.route(request("1", range(320)), NOBODY, 0.0)
        assert route is not None
        assert route.num_cached_tokens == 304

    def test_prompt_logprobs_share_nothing(self) -> None:
        router = router_of(report("a"), report("b", cached=range(320), num_running=1))
        asked = request("1", range(320), num_prompt_logprobs=0)
        assert router.route(asked, NOBODY, 0.0) == Route("a", RouteReason.LOAD, 0)
        begun = replace(asked, request_id="1~2", output_token_ids=(1, 2))
        assert replica_of(router.route(begun, NOBODY, 0.0)) == "b"

    def test_output_of_another_replica_counts_as_prompt(self) -> None:
        router = router_of(report("a"), report("b", cached=range(320), num_running=1))
        lost = replace(request("1", range(16)), output_token_ids=tuple(range(16, 330)))
        route = router.route(lost, NOBODY, 0.0)
        assert route is not None
        assert (route.replica, route.num_cached_tokens) == ("b", 320)

    def test_only_one_is_left(self) -> None:
        router = router_of(report("a", is_draining=True), report("b", num_running=9))
        assert router.route(request("1", [1]), NOBODY, 0.0) == Route("b", RouteReason.ONLY, 0)

    def test_whoever_lost_it_is_avoided(self) -> None:
        router = router_of(report("a"), report("b", num_running=9))
        assert replica_of(router.route(request("1", [1]), frozenset("a"), 0.0)) == "b"

    @pytest.mark.parametrize(
        "full", [{"num_available_blocks": 20}, {"num_free_places": 0}, {"num_available_blocks": 10, "num_shards": 2}]
    )
    def test_whoever_has_no_room_is_avoided(self, full: dict[str, int]) -> None:
        router = router_of(report("a", **full), report("b", num_running=9, num_available_blocks=21))
        assert replica_of(router.route(request("1", range(320)), NOBODY, 0.0)) == "b"

    def test_cached_blocks_need_no_room(self) -> None:
        cached = report("b", cached=range(320), num_running=9, num_available_blocks=2)
        assert replica_of(router_of(report("a"), cached).route(request("1", range(321)), NOBODY, 0.0)) == "b"


class TestSent:
    """What was sent counts as if it were there, until a report has it."""

    def test_sent_requests_spread(self) -> None:
        router = router_of(report("a"), report("b"), policy=LeastLoad())
        sent = [replica_of(router.route(request(str(number), range(20)), NOBODY, 0.0)) for number in range(4)]
        assert sent == ["a", "b", "a", "b"]

    def test_sent_prompts_count_as_cached(self) -> None:
        """Their blocks are about to be computed: who waits for them need not compute them again."""
        router = router_of(report("a"), report("b", num_running=9))
        first = router.route(request("1", prompt_of(1, 320, 1)), NOBODY, 0.0)
        second = router.route(request("2", prompt_of(1, 320, 2)), NOBODY, 0.0)
        assert first == Route("a", RouteReason.LOAD, 0)
        assert second == Route("a", RouteReason.PREFIX, 320)

    def test_sent_blocks_take_room(self) -> None:
        router = router_of(report("a", num_available_blocks=30), report("b", num_running=50))
        assert replica_of(router.route(request("1", range(320)), NOBODY, 0.0)) == "a"
        assert replica_of(router.route(request("2", range(1000, 1320)), NOBODY, 0.0)) == "b"

    def test_sent_requests_take_places(self) -> None:
        router = router_of(report("a", num_free_places=1), report("b", num_running=50))
        assert replica_of(router.route(request("1", [1]), NOBODY, 0.0)) == "a"
        assert replica_of(router.route(request("2", [2]), NOBODY, 0.0)) == "b"

    def test_a_report_that_has_it_ends_the_count(self) -> None:
        router = router_of(report("a"), report("b", num_running=2), policy=LeastLoad())
        for number in range(2):
            router.route(request(str(number), [1]), NOBODY, 0.0)
        router.receive(replace(report("a", 2, num_running=1), received=("0", "1", "of another ingress")), 0.1)
        assert replica_of(router.route(request("2", [1]), NOBODY, 0.1)) == "a"

    def test_a_report_that_does_not_have_it_does_not(self) -> None:
        router = router_of(report("a"), report("b", num_running=3), policy=LeastLoad())
        for number in range(3):
            router.route(request(str(number), [1]), NOBODY, 0.0)
        router.receive(report("a", 2), 0.1)
        assert replica_of(router.route(request("3", [1]), NOBODY, 0.1)) == "b"

    def test_names_stay_until_the_replica_can_have_reported_them(self) -> None:
        router = router_of(report("a"), report("b"))
        first = replica_of(router.route(request("1", prompt_of(1, 320)), NOBODY, 0.0))

        def cached_now(number: int) -> int:
            route = router.route(request(str(number), prompt_of(1, 320, number)), NOBODY, 0.1)
            assert route is not None
            router.ended(str(number))
            return route.num_cached_tokens

        router.receive(replace(report(first, 2, num_running=1), received=("1",)), 0.1)
        assert cached_now(2) == 320, "it computes them"
        router.begun("1")
        router.ended("1")
        assert cached_now(3) == 320, "it has computed them"
        router.receive(report(first, 3), 0.1)
        assert cached_now(4) == 0, "it has evicted them since"

    def test_what_ends_before_it_begins_leaves_nothing(self) -> None:
        router = router_of(report("a"), report("b", num_running=1), policy=LeastLoad())
        for number in range(9):
            assert replica_of(router.route(request(str(number), [1]), NOBODY, 0.0)) == "a"
            router.ended(str(number))

    def test_what_has_ended_is_no_load(self) -> None:
        router = router_of(report("a"), report("b", num_running=1), policy=LeastLoad())
        for number in range(9):
            assert replica_of(router.route(request(str(number), [1]), NOBODY, 0.0)) == "a"
            router.begun(str(number))
            router.ended(str(number))

    def test_an_id_that_comes_twice_counts_once(self) -> None:
        router = router_of(report("a"), report("b", num_running=1), policy=LeastLoad())
        assert replica_of(router.route(request("same", [1]), NOBODY, 0.0)) == "a"
        router.lost("a")
        router.keep({"a", "b"})
        router.receive(report("a", 2), 0.0)
        for _ in range(3):
            assert replica_of(router.route(request("same", [1]), NOBODY, 0.0)) == "a"

    def test_unknown_requests_are_ignored(self) -> None:
        router = router_of(report("a"))
        router.begun("unknown")
        router.ended("unknown")
        router.route(request("1", [1]), NOBODY, 0.0)
        router.lost("a")
        router.begun("1")
        router.ended("1")


class TestRoomElsewhere:
    def test_a_replica_with_room(self) -> None:
        router = router_of(report("a", num_free_places=0), report("b"))
        assert router.has_room_beside("a", request("1", [1]), 0.0)

    @pytest.mark.parametrize("other", [{"num_free_places": 0}, {"num_available_blocks": 5}, {"is_draining": True}])
    def test_none_with_room(self, other: dict[str, int]) -> None:
        router = router_of(report("a"), report("b", **other))
        assert not router.has_room_beside("a", request("1", range(320)), 0.0)

    def test_none_that_has_reported_lately(self) -> None:
        router = router_of(report("a"), report("b"))
        assert not router.has_room_beside("a", request("1", [1]), 10.0)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("report"), st.sampled_from("abc"), st.integers(1, 9)),
        st.tuples(st.just("route"), st.sampled_from("xyz"), st.integers(0, 3)),
        st.tuples(st.sampled_from(["begun", "ended"]), st.sampled_from("xyz"), st.just(0)),
        st.tuples(st.sampled_from(["lost", "keep"]), st.sampled_from("abc"), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=300)
@given(steps, st.data())
def test_whatever_is_lost_late_or_repeated_a_report_of_everything_sets_right(
    happened: list[tuple[str, str, int]], data: st.DataObject
) -> None:
    """And until then every choice is of a replica that has reported."""
    router, reported = router_of(), set[str]()
    for what, who, number in happened:
        if what == "report":
            router.receive(report(who, number, num_running=data.draw(st.integers(0, 5))), 0.0)
            reported.add(who)
        elif what == "route":
            route = router.route(request(who, prompt_of(number, 64)), NOBODY, 0.0)
            assert route is None or route.replica in reported
        elif what == "begun":
            router.begun(who)
        elif what == "ended":
            router.ended(who)
        elif what == "lost":
            router.lost(who)
        else:
            router.keep({who})
    for who in "xyz":
        router.begun(who)
        router.ended(who)
    router.keep(set("abc"))
    for number in (100, 101):
        for who, num_running in (("a", 3), ("b", 2), ("c", 1)):
            router.receive(report(who, number, cached=prompt_of(7, 64), num_running=num_running), 0.0)
    route = router.route(request("last", prompt_of(7, 64)), NOBODY, 0.0)
    assert route == Route("c", RouteReason.LOAD, 64)
    assert router._views["a"].candidate_for(router._query(request("last", [1]), NOBODY)).num_sequences == 3
