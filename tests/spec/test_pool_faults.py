"""Loss, repetition, reordering, delay and restarts of both sides cost drafts, never a wrong place, and heal."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.pool_simulation import (
    MAX_DRAFT_TOKENS,
    SESSION_TIMEOUT_S,
    SimulatedReplica,
    SimulatedTarget,
    Simulation,
)
from tests.support.unreliable import NO_FAULTS, Faults

RATE = st.sampled_from([0.0, 0.2, 0.7])
MAX_REQUESTS = 6


class FaultyPool(RuleBasedStateMachine):
    """Two targets and up to three replicas; the drafters are always right, so that every draft must be the truth."""

    @initialize(loss=RATE, repetition=RATE, delay=RATE)
    def start(self, loss: float, repetition: float, delay: float) -> None:
        self.simulation = Simulation(targets=2, replicas=2, faults=Faults(loss, repetition, delay))
        self.num_begun = 0

    @rule(which=st.integers(0, 1), num_prompt_tokens=st.integers(1, 60))
    def begin(self, which: int, num_prompt_tokens: int) -> None:
        chosen = self._target(which)
        if len(chosen.sequences.token_ids) < MAX_REQUESTS:
            self.num_begun += 1
            chosen.begin(f"request-{self.num_begun}", self.num_begun, num_prompt_tokens)
            self.simulation.send(chosen)

    @rule(which=st.integers(0, 1), asks=st.booleans())
    def step(self, which: int, asks: bool) -> None:
        chosen = self._target(which)
        coming = {name: chosen.sequences.coming(name, MAX_DRAFT_TOKENS) for name in chosen.sequences.token_ids}
        for name, draft in chosen.step(self.simulation.now_s, asks=asks).items():
            assert 0 < len(draft) <= MAX_DRAFT_TOKENS
            assert draft == coming[name][: len(draft)]
        self.simulation.send(chosen)

    @rule(replica=st.integers(0, 2))
    def draft(self, replica: int) -> None:
        for chosen in self._replica(replica):
            self.simulation.draft(chosen)

    @rule(time_s=st.sampled_from([0.01, 0.5, 3.0, 2 * SESSION_TIMEOUT_S]))
    def wait(self, time_s: float) -> None:
        self.simulation.now_s += time_s

    @rule(which=st.integers(0, 1), request=st.integers(0, MAX_REQUESTS))
    def end(self, which: int, request: int) -> None:
        chosen = self._target(which)
        for name in [*chosen.sequences.token_ids][request : request + 1]:
            chosen.end(name)
        self.simulation.send(chosen)

    @rule(replica=st.integers(0, 2))
    def restart_replica(self, replica: int) -> None:
        for chosen in self._replica(replica):
            chosen.restart()

    @rule(which=st.integers(0, 1))
    def restart_target(self, which: int) -> None:
        del self.simulation.targets[self._target(which).name]
        self.simulation.add_target()

    @precondition(lambda self: len(self.simulation.replicas) < 3)
    @rule()
    def scale_up(self) -> None:
        self.simulation.add_replica()

    @rule(replica=st.integers(0, 2))
    def scale_down(self, replica: int) -> None:
        for chosen in self._replica(replica):
            self.simulation.remove_replica(chosen.name)

    @rule(replica=st.integers(0, 2))
    def drain(self, replica: int) -> None:
        for chosen in self._replica(replica):
            for name, answer in chosen.host.drain().items():
                if name in self.simulation.targets:
                    self.simulation.targets[name].client.receive(chosen.name, answer, self.simulation.now_s)

    @invariant()
    def memory_is_bounded(self) -> None:
        for replica in self.simulation.replicas.values():
            assert replica.drafter.sessions.keys() == replica.host.sessions
        for target in self.simulation.targets.values():
            assert target.client.num_sessions == len(target.sequences.token_ids)

    def teardown(self) -> None:
        """When the faults are over, every request is drafted again, and nobody keeps what is over."""
        simulation = self.simulation
        simulation.set_faults(NO_FAULTS)
        simulation.add_replica()
        self.begin(0, 5)
        for _ in range(100):
            simulation.round(time_s=1.0)
        live = {name for target in simulation.targets.values() for name in target.sequences.token_ids}
        assert simulation.round().keys() == live
        assert sum(replica.host.num_sessions for replica in simulation.replicas.values()) == len(live)

    def _target(self, index: int) -> SimulatedTarget:
        return [*self.simulation.targets.values()][index]

    def _replica(self, index: int) -> list[SimulatedReplica]:
        return [*self.simulation.replicas.values()][index : index + 1]


TestFaultyPool = FaultyPool.TestCase
TestFaultyPool.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
