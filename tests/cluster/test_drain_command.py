"""Which node `llama4coder drain` means, and when it is empty."""

from typing import Any

import pytest
from typer.testing import CliRunner

from cluster.cli import app
from cluster.drain_command import drain, find_node, occupation, outlast
from llama4coder.errors import ConfigError


def node(node_id: str, address: str, *, is_alive: bool = True, is_head: bool = False) -> dict[str, Any]:
    resources = {"CPU": 4.0} | ({"node:__internal_head__": 1.0} if is_head else {})
    return {"NodeID": node_id, "NodeManagerAddress": address, "Alive": is_alive, "Resources": resources}


def actor(node_id: str, name: str, state: str = "ALIVE") -> dict[str, Any]:
    return {"Address": {"NodeID": node_id}, "State": state, "ActorClassName": name}


NODES = [node("h", "10.0.0.1", is_head=True), node("a", "10.0.0.2"), node("x", "10.0.0.2", is_alive=False)]


@pytest.mark.parametrize("wanted", ["a", "10.0.0.2"])
def test_a_node_is_found_by_id_and_by_address(wanted: str) -> None:
    assert find_node(NODES, wanted) == "a"


def test_what_cannot_be_drained_is_told() -> None:
    with pytest.raises(ConfigError, match=r"0 nodes are x; .*10\.0\.0\.2 \(a\)"):
        find_node(NODES, "x")
    with pytest.raises(ConfigError, match="2 nodes"):
        find_node([*NODES, node("b", "10.0.0.2")], "10.0.0.2")
    with pytest.raises(ConfigError, match="head"):
        find_node(NODES, "h")


def test_only_living_processes_of_the_deployment_count() -> None:
    actors = [
        actor("a", "ServeReplica:llama4coder:TargetReplica"),
        actor("a", "RankActor"),
        actor("a", "ProxyActor"),
        actor("a", "RankActor", "DEAD"),
        actor("h", "RankActor"),
    ]
    assert occupation(NODES, actors, "a").num_actors == 2
    assert not occupation(NODES, actors, "a").is_empty
    assert occupation(NODES, actors[2:], "a").is_empty
    assert occupation(NODES, actors, "x").is_empty, "the node has gone"


class FakeHead:
    """A node from which an actor goes each time that somebody looks."""

    def __init__(self, num_actors: int) -> None:
        self._actors = [actor("a", "RankActor")] * num_actors
        self.drained: list[tuple[str, float]] = []

    def num_draining(self) -> int:
        self._actors = self._actors[1:]
        return len(self._actors)

    def node_id(self, wanted: str | None) -> str:
        return find_node(NODES, wanted or "10.0.0.2")

    def drain(self, node_id: str, timeout_s: float) -> None:
        self.drained.append((node_id, timeout_s))

    def occupation(self, node_id: str) -> Any:
        found = occupation(NODES, self._actors, node_id)
        self._actors = self._actors[1:]
        return found


@pytest.mark.parametrize(("num_actors", "timeout_s", "is_empty"), [(0, 5.0, True), (2, 5.0, True), (3, 0.0, False)])
def test_it_waits_until_the_node_is_empty_or_the_time_is_over(
    num_actors: int, timeout_s: float, is_empty: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.drain_command._POLL_S", 0.01)
    head: Any = FakeHead(num_actors)
    told: list[str] = []
    assert drain(head, None, timeout_s, told.append) is is_empty
    assert head.drained == [("a", timeout_s)]
    assert len(told) == 1 + (num_actors if is_empty else 1)


@pytest.mark.parametrize(("num_left", "timeout_s", "is_over"), [(0, 5.0, True), (3, 5.0, True), (9, 0.0, False)])
def test_a_head_waits_for_the_nodes_that_are_drained(
    num_left: int, timeout_s: float, is_over: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.drain_command._POLL_S", 0.01)
    monkeypatch.setattr("cluster.drain_command._SETTLE_S", 0.01)
    head: Any = FakeHead(num_left)
    told: list[str] = []
    assert outlast(head, timeout_s, told.append) is is_over
    assert head.drained == []
    assert (
        told[1:] == [f"{num} nodes are being drained" for num in range(num_left - 1, 0, -1)][: None if is_over else 1]
    )


def test_a_head_waits_for_all_or_for_none() -> None:
    result = CliRunner().invoke(app, ["drain", "--others", "--node", "a"])
    assert result.exit_code == 1
    assert "leave --node out" in result.stderr
