"""Targets and replicas of a draft pool in one thread, with a clock of its own and unreliable ways between them."""

from random import Random

from llama4coder.obs.pool import NullPoolObserver, PoolLookup
from llama4coder.spec.pool_client import PoolClient, PoolLimits
from llama4coder.spec.pool_host import PoolHost
from llama4coder.spec.pool_messages import Answer, News
from tests.support.known_sequences import KnownSequences, token_at
from tests.support.oracle_drafter import OracleDrafter
from tests.support.unreliable import NO_FAULTS, Faults, Unreliable

SESSION_TIMEOUT_S = 30.0
SILENCE_TIMEOUT_S = 2.0
MAX_CONTEXT_TOKENS = 24
MAX_DRAFT_TOKENS = 4


class Lookups(NullPoolObserver):
    """Keeps what was found."""

    def __init__(self) -> None:
        self.kinds: list[PoolLookup] = []
        self.round_trips_s: list[float] = []

    def on_pool_lookup(self, found: PoolLookup) -> None:
        self.kinds.append(found)

    def on_pool_round_trip(self, time_s: float) -> None:
        self.round_trips_s.append(time_s)


class SimulatedReplica:
    """A host, and the ways to and from it."""

    def __init__(self, name: str, faults: Faults, seed: int, *, chance_right: float = 1.0) -> None:
        self.name = name
        self.chance_right = chance_right
        self.there: Unreliable[News] = Unreliable(faults, Random(seed))
        self.back: Unreliable[tuple[str, Answer]] = Unreliable(faults, Random(seed + 1))
        self.restart()

    def restart(self) -> None:
        """Everything that it knew is gone."""
        self.drafter = OracleDrafter(token_at, num_tokens=MAX_DRAFT_TOKENS, chance_right=self.chance_right)
        self.host = PoolHost(self.drafter, SESSION_TIMEOUT_S)


class SimulatedTarget:
    """A client with its requests."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.observer = Lookups()
        self.client = PoolClient(name, PoolLimits(SILENCE_TIMEOUT_S, MAX_CONTEXT_TOKENS), self.observer)
        self.sequences = KnownSequences()

    def begin(self, request_id: str, seed: int, num_prompt_tokens: int) -> None:
        self.client.begin(self.sequences.begin(request_id, seed, num_prompt_tokens))

    def end(self, request_id: str) -> None:
        self.sequences.end(request_id)
        self.client.end(request_id)

    def step(self, now_s: float, *, asks: bool = True) -> dict[str, tuple[int, ...]]:
        """One step of all requests; returns the drafts, of which as much was accepted as was right."""
        drafts = self.client.propose(self.sequences.queries(MAX_DRAFT_TOKENS)) if asks else {}
        self.client.observe(self.sequences.step(drafts), now_s)
        return {name: draft.token_ids for name, draft in drafts.items()}


class Simulation:
    """Everything together; a test decides what happens when."""

    def __init__(self, targets: int, replicas: int, faults: Faults = NO_FAULTS) -> None:
        self.now_s = 0.0
        self.faults = faults
        self.num_started = 0
        self.replicas: dict[str, SimulatedReplica] = {}
        self.targets: dict[str, SimulatedTarget] = {}
        for _ in range(replicas):
            self.add_replica()
        for _ in range(targets):
            self.add_target()

    def add_target(self) -> SimulatedTarget:
        self.num_started += 1
        target = SimulatedTarget(f"target-{self.num_started}")
        target.client.set_replicas(list(self.replicas))
        self.targets[target.name] = target
        return target

    def add_replica(self, *, chance_right: float = 1.0) -> SimulatedReplica:
        self.num_started += 1
        name = f"replica-{self.num_started}"
        replica = SimulatedReplica(name, self.faults, self.num_started, chance_right=chance_right)
        self.replicas[name] = replica
        self.tell_replicas()
        return replica

    def remove_replica(self, name: str) -> None:
        del self.replicas[name]
        self.tell_replicas()

    def tell_replicas(self) -> None:
        for target in self.targets.values():
            target.client.set_replicas(list(self.replicas))

    def set_faults(self, faults: Faults) -> None:
        self.faults = faults
        for replica in self.replicas.values():
            replica.there.faults = replica.back.faults = faults

    def send(self, target: SimulatedTarget) -> None:
        """What the target has to say is on its way, and some of what was on its way arrives."""
        for name, news in target.client.news(self.now_s).items():
            for arrived in self.replicas[name].there.pass_on([news]):
                self.replicas[name].host.receive(arrived, self.now_s)

    def draft(self, replica: SimulatedReplica) -> None:
        """One round of a replica."""
        answers = replica.host.round(self.now_s)
        for name, answer in replica.back.pass_on(answers.items()):
            if name in self.targets:
                self.targets[name].client.receive(replica.name, answer, self.now_s)

    def round(self, time_s: float = 0.1) -> dict[str, tuple[int, ...]]:
        """A step of every target, then a round of every replica; returns all drafts."""
        self.now_s += time_s
        drafts: dict[str, tuple[int, ...]] = {}
        for target in self.targets.values():
            drafts |= target.step(self.now_s)
            self.send(target)
        for replica in self.replicas.values():
            self.draft(replica)
        return drafts
