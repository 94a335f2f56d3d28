"""What speculation gains for any acceptance: true steps of target and draft, true messages, made-up tokens.

    python -m tests.bench.speculation [--shape 70b] [--quant fp8] [--draft-shape 1b] [--alphas 0.5 0.65 0.8 0.9]
        [--batches 1 4 16 64 128] [--hit-rate 0.85] [--context 256] [--tokens 48] [--budget-s 450]
    python -m tests.bench.speculation --device cpu --shape tiny --draft-shape tiny      # that the benchmark works

Weights are random; of target and draft both are on the one device. `beside` drafts between two steps of the target.
`pool` has a process of its own answer over the draft channel after as long as a round of the draft model was measured
to take, as if that had a device to itself. Speed-ups are over plain decoding in the same run, beside the formulas for
E(k) = (1 - alpha^(k+1)) / (1 - alpha): E(k) / (1 + c k) beside, and (h E(k) + 1 - h) / max(1, c_T k + r) with a pool,
where k is the best one, c and c_T are a draft step's parts of a target's, r a message's there and back.
"""

import argparse
import faulthandler
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from cluster.channel.draft_client import PoolProposer
from cluster.channel.draft_link import ZmqLinks
from cluster.channel.draft_server import DraftServer
from cluster.channel.endpoint import Endpoint, bind_encrypted
from llama4coder.config import DeploymentConfig, DType, EngineConfig, ModelConfig
from llama4coder.engine.engine import Engine
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.engine.plan import StepPlan
from llama4coder.gpu.graph_sizes import GraphSizes
from llama4coder.kv.sizing import BLOCK_SIZE, kv_bytes_per_block
from llama4coder.machine import Machine
from llama4coder.models.random_weights import SHAPES
from llama4coder.models.weights import Placement
from llama4coder.obs.pool import NullPoolObserver
from llama4coder.obs.stats import NullObserver
from llama4coder.parallel.plan import RankPlan
from llama4coder.resolve import resolve
from llama4coder.resolved import ResolvedConfig
from llama4coder.spec.pool_client import PoolClient, PoolLimits
from llama4coder.spec.pool_host import PoolHost
from llama4coder.spec.speculator import Speculator
from llama4coder.spec.types import DraftQuery, NoSpeculation, Proposer, RowOutcome, Speculation, StepCost
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions
from tests.bench.gpu import TINY_SHAPE, kernels_for
from tests.bench.gpu_subject import Batch, Lane, Room, Subject, build_subject
from tests.bench.measure import describe_machine, markdown_table, timed
from tests.bench.oracle import BesideProposer, KnownTokens, Odds, TimedDrafter, token_at
from tests.support.draft_counts import DraftCounts

_MAX_DRAFT_TOKENS = 8
_MAX_FORKS = 8
_MAX_STEP_TOKENS = 256  # of the draft model, as in its drafter
_MAX_WAIT_S = 10.0
_ROOMY = Machine("cpu", 2**37, num_cpus=16, computes_bfloat16=True)


class Switch:
    """Implements `Speculation`: one engine, whose graphs take long to record, speculates in one way after the other."""

    def __init__(self) -> None:
        self.current: Speculation = NoSpeculation()

    def begin(self, request: GenerateRequest) -> None:
        self.current.begin(request)

    def wants(self, request_ids: Sequence[str]) -> bool:
        return self.current.wants(request_ids)

    def propose(self, queries: Sequence[DraftQuery]) -> Mapping[str, tuple[int, ...]]:
        return self.current.propose(queries)

    def observe(self, outcomes: Sequence[RowOutcome], cost: StepCost) -> None:
        self.current.observe(outcomes, cost)

    def end(self, request_id: str) -> None:
        self.current.end(request_id)

    def close(self) -> None:
        self.current.close()


class DraftSteps:
    """True steps of the draft model, at one place of sequences that never grow."""

    def __init__(self, subject: Subject, lane: Lane, context: int) -> None:
        self._lane = lane
        self._rows = subject.start(lane, Batch(subject.max_rows, context), context)

    def __call__(self, num_rows: int, num_tokens: int) -> None:
        """So many, one after the other."""
        plan = StepPlan(0, (), (), tuple(replace(row, new_block_ids=()) for row in self._rows[:num_rows]))
        for _ in range(num_tokens):
            self._lane.runner.execute(plan)

    def time_s(self, num_rows: int) -> float:
        """Of one step."""
        self(num_rows, 2)
        return timed(lambda: self(num_rows, _MAX_DRAFT_TOKENS)) / _MAX_DRAFT_TOKENS


@dataclass(frozen=True, slots=True)
class Costs:
    """Of one batch: a plain step of the target, and a draft step of the rows themselves and of all their forks."""

    target_s: float
    draft_s: float
    tree_s: float
    message_s: float

    def beside(self, acceptance: float) -> float:
        """The formula's speed-up."""
        return max(
            _expected(acceptance, k) / (1 + k * self.draft_s / self.target_s) for k in range(_MAX_DRAFT_TOKENS + 1)
        )

    def pool(self, odds: Odds) -> float:
        """The formula's speed-up."""
        speedups = [1.0]
        for k in range(1, _MAX_DRAFT_TOKENS + 1):
            expected = odds.hit_rate * _expected(odds.acceptance, k) + 1 - odds.hit_rate
            speedups.append(expected / max(1.0, (k * self.tree_s + self.message_s) / self.target_s))
        return max(speedups)


class Bench:
    """Target, draft, and the engine over the target."""

    def __init__(self, options: argparse.Namespace) -> None:
        device = torch.device(options.device)
        placement = Placement(torch.float32 if device.type == "cpu" else torch.bfloat16, device)
        max_rows = max(options.batches)
        self._options = options
        context = options.context + options.tokens + _MAX_DRAFT_TOKENS + BLOCK_SIZE
        target = _subject(options.shape, options.quant, placement, max_rows, context)
        target.add_lanes(GraphSizes.to_verify(max_rows, _MAX_DRAFT_TOKENS))
        draft_rows = min(_MAX_STEP_TOKENS, max_rows * (1 + _MAX_FORKS))
        draft = _subject(options.draft_shape, "bf16", placement, draft_rows, options.context + BLOCK_SIZE)
        draft.add_lanes(GraphSizes.up_to(draft_rows))
        self._draft_steps = DraftSteps(draft, _best_lane(draft), options.context)
        self._switch = Switch()
        executor = KnownTokens(LocalExecutor(_best_lane(target).runner.launch))
        config = _config(options, target, context)
        self._engine = Engine(config, executor, NullObserver(), self._switch)
        self._vocab_size = target.shape.vocab_size
        self._num_runs = 0

    def rows(self, batch: int) -> Iterator[list[str]]:
        """One for each acceptance."""
        self._tokens_per_s(NoSpeculation(), batch)  # warm-up
        plain = self._tokens_per_s(NoSpeculation(), batch)
        tree_rows = min(_MAX_STEP_TOKENS, batch * (1 + _MAX_FORKS))
        times = [self._draft_steps.time_s(rows) for rows in (min(batch, tree_rows), tree_rows)]
        costs = Costs(batch / plain, *times, message_s=_message_s())
        for alpha in self._options.alphas:
            odds = Odds(alpha, self._options.hit_rate)
            beside, beside_count = self._speculate(BesideProposer(self._draft_steps, odds), batch)
            with _pool(_MAX_DRAFT_TOKENS * costs.tree_s, odds) as proposer:
                pool, pool_count = self._speculate(proposer, batch)
            yield [
                str(batch),
                f"{alpha:g}",
                f"{plain:.1f}",
                *(f"{part / costs.target_s:.3f}" for part in (costs.draft_s, costs.tree_s, costs.message_s)),
                f"{beside / plain:.2f}x ({costs.beside(alpha):.2f}x)",
                _mean_length(beside_count),
                f"{pool / plain:.2f}x ({costs.pool(odds):.2f}x)",
                _mean_length(pool_count),
            ]

    def close(self) -> None:
        self._engine.close()

    def _speculate(self, proposer: Proposer, batch: int) -> tuple[float, DraftCounts]:
        """Twice, since the first run is where step times and acceptance are learned."""
        observer = DraftCounts()
        speculator = Speculator(proposer, self._vocab_size, _MAX_DRAFT_TOKENS, observer)
        self._tokens_per_s(speculator, batch)
        speed = self._tokens_per_s(speculator, batch)
        proposer.close()
        return speed, observer

    def _tokens_per_s(self, speculation: Speculation, batch: int) -> float:
        """From the moment when every row has a token until the first one ends."""
        self._switch.current = speculation
        self._num_runs += 1
        missing = {f"{self._num_runs}/{index}" for index in range(batch)}
        for index, request_id in enumerate(sorted(missing)):
            prompt = tuple((index * 31 + place) % 400 for place in range(self._options.context))
            stop = StopConditions(self._options.tokens)
            self._engine.add(GenerateRequest(request_id, prompt, SamplingParams(temperature=0.0), stop, seed=index))
        num_tokens, start_s, end_s = 0, 0.0, 0.0
        while self._engine.has_work:
            self._engine.await_turn()
            events = self._engine.step()
            now_s = time.perf_counter()
            if start_s and not end_s:
                num_tokens += sum(len(event.token_ids) for event in events)
            missing -= {event.request_id for event in events}
            start_s = start_s or (0.0 if missing else now_s)
            if not end_s and any(event.finish_reason is not None for event in events):
                end_s = now_s
        return num_tokens / (end_s - start_s)


def main() -> None:
    """Print a table with a line for each batch and acceptance."""
    options = _parse()
    faulthandler.dump_traceback_later(options.budget_s, exit=True)
    print(describe_machine(), f"target {options.shape} {options.quant}, draft {options.draft_shape} bf16", sep=", ")
    bench = Bench(options)
    rows = []
    for batch in options.batches:
        for row in bench.rows(batch):
            rows.append(row)
            print(*row, sep="\t", file=sys.stderr, flush=True)  # the whole run takes long
    bench.close()
    print(markdown_table(_HEADER, rows))


_HEADER = ("batch", "alpha", "plain tok/s", "c", "c_T", "r", "beside (formula)", "k", "pool (formula)", "k")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--shape", choices=("tiny", *SHAPES), default="70b")
    parser.add_argument("--quant", choices=("bf16", "fp8", "nf4"), default="fp8")
    parser.add_argument("--draft-shape", choices=("tiny", *SHAPES), default="1b")
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.8, 0.5, 0.65, 0.9])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 128, 4, 16, 64])
    parser.add_argument("--hit-rate", type=float, default=0.85)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--budget-s", type=float, default=450.0)
    return parser.parse_args()


def _subject(name: str, quant: str, placement: Placement, max_rows: int, max_context: int) -> Subject:
    shape = TINY_SHAPE if name == "tiny" else SHAPES[name]
    return build_subject(name, shape, kernels_for(quant, placement.device), placement, Room(max_rows, max_context))


def _best_lane(subject: Subject) -> Lane:
    return subject.lanes.get("graph", subject.lanes["eager"])


def _config(options: argparse.Namespace, target: Subject, context: int) -> ResolvedConfig:
    """What the engine reads of it: the blocks that are there, and the limits."""
    dtype: DType = "float32" if options.device == "cpu" else "bfloat16"
    kv_bytes = target.num_blocks * kv_bytes_per_block(RankPlan.alone(target.shape), dtype)
    engine = EngineConfig(
        device=options.device,
        kv_memory_bytes=kv_bytes,
        max_sequences=target.max_rows,
        max_step_tokens=max(2048, 2 * target.max_rows),
    )
    model = ModelConfig(dtype=dtype, context_length=context)
    machine = replace(_ROOMY, device=options.device)
    return resolve(DeploymentConfig(model=model, engine=engine), Path("random"), target.shape, machine)


@contextmanager
def _pool(round_s: float, odds: Odds) -> Iterator[PoolProposer]:
    """A draft replica as a process of its own, whose rounds take so long."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(theirs, round_s, odds), daemon=True)
    process.start()
    replicas: Mapping[str, Endpoint] = {"draft": ours.recv()}
    client = PoolClient("bench", PoolLimits(silence_timeout_s=_MAX_WAIT_S, max_context_tokens=4096), NullPoolObserver())
    try:
        yield PoolProposer(client, lambda: replicas, ZmqLinks(), NullPoolObserver())
    finally:
        process.kill()
        process.join()


def _serve(pipe: "Connection[Endpoint, None]", round_s: float, odds: Odds) -> None:
    drafter = TimedDrafter(lambda num_sessions: round_s, odds, _MAX_DRAFT_TOKENS)
    server = DraftServer(
        PoolHost(drafter, session_timeout_s=60.0),
        lambda socket: bind_encrypted(socket, "127.0.0.1"),
        NullPoolObserver(),
    )
    pipe.send(server.start())
    server.join()


def _message_s() -> float:
    """There and back, with a drafter that takes no time."""
    with _pool(0.0, Odds(1.0)) as proposer:
        request = GenerateRequest("a", (1, 2, 3), SamplingParams(), StopConditions(1000), seed=0)
        proposer.begin(request)
        times, token_ids = [], list(request.prompt_token_ids)
        for _ in range(30):
            start_s = time.perf_counter()
            token_id = token_at(0, len(token_ids))
            proposer.observe([RowOutcome("a", len(token_ids), 0, 0, (token_id,), has_ended=False)])
            token_ids.append(token_id)
            while time.perf_counter() - start_s < _MAX_WAIT_S:
                draft = proposer.propose([DraftQuery("a", token_ids, _MAX_DRAFT_TOKENS)])
                if draft and len(draft["a"].token_ids) == _MAX_DRAFT_TOKENS:
                    break
            times.append(time.perf_counter() - start_s)
        proposer.close()
    return statistics.median(times)


def _expected(acceptance: float, k: int) -> float:
    """Tokens of a step with k guesses."""
    return float(k + 1) if acceptance == 1 else (1 - acceptance ** (k + 1)) / (1 - acceptance)


def _mean_length(count: DraftCounts) -> str:
    return f"{count.num_drafted / count.num_drafts:.1f}" if count.num_drafts else "0"


if __name__ == "__main__":
    main()
