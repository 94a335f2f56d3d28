"""Far more clients than a small KV budget can hold, on the real server: does it stay up, flat, honest and as fast?

    make bench-overload
    .venv/bin/python -m tests.bench.overload [--minutes 10] [--clients 200] [--levels 2 4 8 16 32] [--level-minutes 1]
        [--kv-mib 450] [--sequences 32] [--queue 32] [--json FILE]
    make bench-overload ARGS="--minutes 0.5 --clients 40 --levels 2 8 --level-minutes 0.5"    # a short look

In one run: a sweep over lower loads, which finds the best goodput, then --clients at once; the first 20 s of each load
and the first five minutes of the last are not counted, or as much as the window is long if that is less. Then nobody
asks any more, and nothing may be left. A client has one request under way: chat or completion, streaming or not, 10 to
7,000 tokens, answered with 1 to 200; one in ten leaves early. A 429 or 503 is asked again when it says, a few times.

Goodput is output tokens/s of complete answers; `in time` are those whose first token came within 30 s of the try that
was admitted. Exit status 1 if a criterion fails.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import tokenizers

from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.env import cache_dir
from llama4coder.progress import NullProgress
from tests.bench.measure import describe_machine, markdown_table
from tests.bench.overload_client import Address
from tests.bench.overload_deck import Ask, deal, own_source
from tests.bench.overload_drive import Drive, Limits
from tests.bench.overload_metrics import ServerMetrics, scrape
from tests.bench.overload_outcome import Kind
from tests.bench.overload_processes import Growth, History, ProcessTable, Window, cpu_s
from tests.bench.overload_report import (
    CpuCores,
    Evidence,
    IdleState,
    LevelFigures,
    Verdict,
    level_figures,
    verdicts,
    violations,
)
from tests.support.live_server import LiveServer, live_server

MODEL = "smollm2-135m-instruct"
SAMPLE_PERIOD_S = 5.0
SCRAPE_PERIOD_S = 15.0  # as Prometheus would
IDLE_TIMEOUT_S = 20.0
LEVEL_SETTLING_S = 20.0
OVERLOAD_SETTLING_S = 300.0  # memory grows until each process has met the largest requests side by side
EDGE_S = 60.0  # memory of the first minute is compared with that of the last
MIB = 2**20
COUNTERS = ("preemptions_total", "admission_rejections_total", "finished_total", "requests_total")
LEVEL_HEADER = (
    *("clients", "goodput, tokens/s", "in time", "prompt tokens/s", "complete / refused / left / violations"),
    *("TTFT s p50 / p99", "cores of server / clients"),
)
MEMORY_HEADER = ("process", "MiB in the first minute", "in the last", "growth", "of it private, MiB")


@dataclass(frozen=True, slots=True)
class Phase:
    """A load that was held for a while."""

    num_clients: int
    window: Window
    cores: CpuCores


@dataclass(frozen=True, slots=True)
class Findings:
    """What a run is remembered by."""

    machine: str
    evidence: Evidence
    refusals: Mapping[str, int]
    counters: Mapping[str, float]
    verdicts: Sequence[Verdict]
    memory: Sequence[History]


class Run:
    """One server under load, from the first client to the last answer."""

    def __init__(self, server: LiveServer, deck: Iterator[Ask], limits: Limits) -> None:
        self._server = server
        self._table = ProcessTable(os.getpid())
        self._drive = Drive(Address("127.0.0.1", server.port), deck, limits)

    async def measure(self, options: argparse.Namespace) -> Findings:
        """Sweep, overload, and silence."""
        before = await self._scrape()
        watching = asyncio.create_task(self._watch())
        level_s, overload_s = 60 * options.level_minutes, 60 * options.minutes
        lower = [await self._hold(n, min(LEVEL_SETTLING_S, level_s), level_s) for n in options.levels]
        overload = await self._hold(options.clients, min(OVERLOAD_SETTLING_S, overload_s), overload_s)
        print("waiting for the last answers ...", file=sys.stderr)
        await self._drive.stop()
        after = await self._until_idle()
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        evidence = self._evidence(lower, overload, after)
        counters = after.since(before, COUNTERS)
        judged = verdicts(evidence)
        return Findings(describe_machine(), evidence, self._drive.refusals, counters, judged, self._table.histories())

    async def _hold(self, num_clients: int, settling_s: float, duration_s: float) -> Phase:
        """Let so many clients ask; the first while is not counted."""
        print(f"{num_clients} clients for {settling_s + duration_s:.0f} s ...", file=sys.stderr)
        self._drive.grow(num_clients)
        await asyncio.sleep(settling_s)
        start_s, server_s, own_s = time.monotonic(), self._table.cpu_s(), cpu_s(os.getpid())
        await asyncio.sleep(duration_s)
        self._drive.check()
        window = Window(start_s, time.monotonic())
        spent_s = (self._table.cpu_s() - server_s, cpu_s(os.getpid()) - own_s)
        return Phase(num_clients, window, CpuCores(*(spent / window.duration_s for spent in spent_s)))

    async def _watch(self) -> None:
        """Sample memory, and scrape as an operator would."""
        scraped_s = 0.0
        while True:
            self._table.sample()
            if time.monotonic() - scraped_s >= SCRAPE_PERIOD_S:
                scraped_s = time.monotonic()
                with contextlib.suppress(OSError):  # a server that is gone is found out otherwise
                    await self._scrape()
            await asyncio.sleep(SAMPLE_PERIOD_S)

    async def _scrape(self) -> ServerMetrics:
        return await asyncio.to_thread(scrape, self._server.url)

    async def _until_idle(self) -> ServerMetrics:
        """The metrics when nothing is left, or when that takes too long."""
        deadline_s = time.monotonic() + IDLE_TIMEOUT_S
        while not _idle_state(metrics := await self._scrape()).is_empty and time.monotonic() < deadline_s:
            await asyncio.sleep(1.0)
        return metrics

    def _evidence(self, lower: Sequence[Phase], overload: Phase, after: ServerMetrics) -> Evidence:
        window = overload.window
        edge_s = min(EDGE_S, window.duration_s / 2)
        first, last = Window(window.start_s, window.start_s + edge_s), Window(window.end_s - edge_s, window.end_s)
        return Evidence(
            [self._figures(phase) for phase in lower],
            self._figures(overload),
            violations(self._drive.records),
            self._table.dead(),
            list(self._table.growths(first, last)),
            _idle_state(after),
        )

    def _figures(self, phase: Phase) -> LevelFigures:
        return level_figures(phase.num_clients, self._drive.records, phase.window, phase.cores)


def main() -> None:
    options = _parse()
    folder = find_checkpoint("embedded", cache_dir(), NullProgress())
    corpus = own_source(tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")))
    deck = deal(corpus, MODEL, options.longest_prompt, options.seed)
    limits = Limits(options.answer_timeout_s, options.tries, options.max_wait_s)
    engine = {"kv_memory_bytes": options.kv_mib * MIB, "max_queued_requests": options.queue}
    engine |= {"max_sequences": options.sequences}
    engine |= {"num_threads": options.threads} if options.threads else {}
    with live_server({"model": {"path": "embedded", "name": MODEL}, "engine": engine}) as server:
        findings = asyncio.run(Run(server, deck, limits).measure(options))
        problems = server.output().partition("Stop it with")[2]
    _print(findings, options)
    print(problems[-2000:], file=sys.stderr)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(findings)))
    sys.exit(not all(verdict.met for verdict in findings.verdicts))


def _print(findings: Findings, options: argparse.Namespace) -> None:
    evidence = findings.evidence
    print(f"{options.kv_mib} MiB of KV, {options.queue} may wait; {findings.machine}\n")
    print(markdown_table(LEVEL_HEADER, [_level_row(level) for level in (*evidence.lower, evidence.overload)]))
    print("\n" + markdown_table(MEMORY_HEADER, [_memory_row(one) for one in evidence.growths]))
    print("\nrefusals, of every try: " + _listed(findings.refusals))
    print("counted by the server: " + _listed(findings.counters) + "\n")
    for verdict in findings.verdicts:
        print(f"{'met' if verdict.met else 'NOT MET'}: {verdict.criterion} ({verdict.found})")


def _level_row(level: LevelFigures) -> list[str]:
    return [
        str(level.num_clients),
        f"{level.output_tokens_per_s:.1f}",
        f"{level.in_time_tokens_per_s:.1f}",
        f"{level.prompt_tokens_per_s:.0f}",
        " / ".join(str(level.num_ended.get(kind, 0)) for kind in Kind),
        f"{level.wait_p50_s:.2f} / {level.wait_p99_s:.2f}",
        f"{level.cores.server:.2f} / {level.cores.clients:.3f}",
    ]


def _memory_row(growth: Growth) -> list[str]:
    sizes = [f"{size / MIB:.1f}" for size in (growth.before_bytes, growth.after_bytes)]
    return [growth.role, *sizes, f"{100 * growth.ratio:+.2f} %", f"{growth.anonymous_growth_bytes / MIB:+.2f}"]


def _listed(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{count:.0f} x {name}" for name, count in counts.items()) or "none"


def _idle_state(metrics: ServerMetrics) -> IdleState:
    used = metrics['kv_blocks{state="used"}']
    return IdleState(used, metrics["queue_depth_requests"], metrics["running_requests"])


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of overload, after its warm-up")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--levels", type=int, nargs="+", default=[2, 4, 8, 16, 32], help="clients of lower loads")
    parser.add_argument("--level-minutes", type=float, default=1.0)
    parser.add_argument("--kv-mib", type=int, default=450, help="in bfloat16 two and a half full contexts")
    parser.add_argument("--queue", type=int, default=32, help="engine.max_queued_requests")
    parser.add_argument("--sequences", type=int, default=32, help="engine.max_sequences")
    parser.add_argument("--threads", type=int, help="engine.num_threads; fewer on a machine that others use, too")
    parser.add_argument("--longest-prompt", type=int, default=7000, help="in tokens")
    parser.add_argument("--tries", type=int, default=6, help="of one request, before a client gives it up")
    parser.add_argument("--max-wait-s", type=float, default=60.0, help="between two tries")
    parser.add_argument("--answer-timeout-s", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
