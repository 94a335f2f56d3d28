"""Our engine with a draft model.

    python -m tests.bench.workers.speculating FOLDER DTYPE NUM_THREADS METHOD QUANT MAX_DRAFT_TOKENS MAX_FORKS

METHOD is `none`, `local` or `pool`; the draft model is the target itself with its weights in QUANT. The pool is one
replica in a process of its own, with one thread.
"""

import multiprocessing
import statistics
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

from cluster.channel.draft_client import PoolProposer
from cluster.channel.draft_link import ZmqLinks
from cluster.channel.draft_server import DraftServer
from cluster.channel.endpoint import Endpoint, bind_encrypted
from cluster.draft_loading import load_drafter
from llama4coder.config import DraftConfig, SpeculationConfig
from llama4coder.obs.pool import NullPoolObserver, PoolLookup
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import read_shape
from llama4coder.spec.build import build_speculation, speculate
from llama4coder.spec.pool_client import PoolClient, PoolLimits
from llama4coder.spec.pool_host import PoolHost
from llama4coder.spec.types import Speculation
from tests.bench.workers.ours import Ours
from tests.bench.workers.protocol import Measure, Task, serve
from tests.support.draft_counts import DraftCounts

_TARGET = "bench"
_SESSION_TIMEOUT_S = 600.0


class Lookups(NullPoolObserver):
    """What was found since `clear`."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.found = dict.fromkeys(PoolLookup, 0)
        self.round_trips_s: list[float] = []

    def on_pool_lookup(self, found: PoolLookup) -> None:
        self.found[found] += 1

    def on_pool_round_trip(self, time_s: float) -> None:
        self.round_trips_s.append(time_s)


class Speculating:
    def __init__(self, folder: Path, dtype: str, num_threads: int, speculation: SpeculationConfig) -> None:
        self._counting, self._lookups = DraftCounts(), Lookups()
        self._ours = Ours(folder, dtype, num_threads, "none", speculation, self._speculate)

    def measures(self) -> Mapping[str, Measure]:
        """Speed, and then how the run of the last speed went."""
        return {
            "decode": self._decode,
            "acceptance": lambda task: self._counting.num_accepted / max(1, self._counting.num_judged),
            "draft_length": lambda task: self._counting.num_drafted / max(1, self._counting.num_drafts),
            "hit_rate": lambda task: self._lookups.found[PoolLookup.HIT] / max(1, sum(self._lookups.found.values())),
            "late_rate": lambda task: self._lookups.found[PoolLookup.LATE] / max(1, sum(self._lookups.found.values())),
            "round_trip_ms": lambda task: 1000 * statistics.median(self._lookups.round_trips_s or [0.0]),
        }

    def _decode(self, task: Task) -> float:
        self._counting.clear()
        self._lookups.clear()
        return self._ours.measures()["decode"](task)

    def _speculate(self, config: ResolvedConfig) -> Speculation:
        vocab_size = read_shape(Path(config.model.path)).vocab_size
        if config.speculation.method != "pool":
            return build_speculation(config, vocab_size, self._counting)
        replicas: Mapping[str, Endpoint] = {"draft": _start_replica(config)}
        client = PoolClient(_TARGET, PoolLimits(config.speculation.pool.silence_timeout_s, 4096), self._lookups)
        pool = PoolProposer(client, lambda: replicas, ZmqLinks(), self._lookups)
        return speculate(pool, config, vocab_size, self._counting)


def _start_replica(config: ResolvedConfig) -> Endpoint:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    draft = config.speculation.draft.model_copy(update={"num_threads": 1})
    speculation = config.speculation.model_copy(update={"draft": draft})
    config = config.model_copy(update={"speculation": speculation})
    spawn.Process(target=_serve, args=(theirs, config), daemon=True).start()
    endpoint: Endpoint = ours.recv()
    return endpoint


def _serve(pipe: "Connection[Endpoint, None]", config: ResolvedConfig) -> None:
    host = PoolHost(load_drafter(config), _SESSION_TIMEOUT_S)
    server = DraftServer(host, lambda socket: bind_encrypted(socket, "127.0.0.1"), NullPoolObserver())
    pipe.send(server.start())
    server.join()


if __name__ == "__main__":
    folder, dtype, num_threads, method, quant, max_draft_tokens, max_forks = sys.argv[1:]
    draft = DraftConfig.model_validate({"path": folder, "quant": quant, "max_forks": int(max_forks)})
    speculation = SpeculationConfig.model_validate(
        {"method": method, "max_draft_tokens": int(max_draft_tokens), "draft": draft}
    )
    serve(lambda: Speculating(Path(folder), dtype, int(num_threads), speculation).measures())
