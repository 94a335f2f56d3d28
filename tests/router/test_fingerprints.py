"""Replicas that would answer otherwise: who may begin a request there, and who may go on."""

from dataclasses import replace

import pytest

from llama4coder.router.kv_aware import KVAware
from llama4coder.router.messages import Report
from llama4coder.router.router import Router
from llama4coder.types import Fingerprint
from tests.support.replicas import BLOCK_SIZE, report, request

OLD, REFORMATTED, OTHER = Fingerprint("m", "old"), Fingerprint("m", "new"), Fingerprint("other", "old")
NOBODY = frozenset[str]()


def router_of(*reports: Report) -> Router:
    router = Router(KVAware(), BLOCK_SIZE, OLD)
    for each in reports:
        router.receive(each, 0.0)
    return router


def of(fingerprint: Fingerprint, name: str, **values: int | bool) -> Report:
    return replace(report(name, **values), fingerprint=fingerprint)


def test_a_request_begins_at_any_replica_of_the_model_and_is_told_with_what() -> None:
    router = router_of(of(OLD, "a", num_running=9), of(REFORMATTED, "b"), of(OTHER, "c"))
    route = router.route(request("1", [1]), NOBODY, 0.0)
    assert route is not None
    assert (route.replica, route.fingerprint) == ("b", REFORMATTED)


@pytest.mark.parametrize(("begun_with", "replica"), [(OLD, "a"), (REFORMATTED, "b")])
def test_it_goes_on_with_what_it_began_with(begun_with: Fingerprint, replica: str) -> None:
    router = router_of(of(OLD, "a", num_running=9), of(REFORMATTED, "b", num_running=10))
    route = router.route(request("1", [1]), frozenset({replica}), 0.0, begun_with)
    assert route is not None
    assert route.replica == replica


def test_nobody_is_chosen_when_only_others_are_left() -> None:
    router = router_of(of(REFORMATTED, "b"), of(OTHER, "c"))
    assert router.route(request("1", [1]), NOBODY, 0.0, OLD) is None
    assert not router.knows_only_others(0.0)
    router = router_of(of(OTHER, "c"))
    assert router.route(request("1", [1]), NOBODY, 0.0) is None
    assert router.knows_only_others(0.0)
    assert not router.knows_only_others(100.0), "nobody reports, which is another matter"


def test_there_is_no_room_at_another_model() -> None:
    router = router_of(of(OLD, "a"), of(OTHER, "c"))
    assert not router.has_room_beside("a", request("1", [1]), 0.0)
