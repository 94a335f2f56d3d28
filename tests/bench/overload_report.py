"""From records and samples to figures, and from figures to verdicts."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.overload_drive import Record
from tests.bench.overload_outcome import Kind
from tests.bench.overload_processes import Growth, Window

IN_TIME_S = 30.0  # for a first token
MAX_GROWTH = 0.02
MIN_GOODPUT_SHARE = 0.85
_SERVER_FAULT = "HTTP 5"


@dataclass(frozen=True, slots=True)
class CpuCores:
    """How many cores were busy on the average."""

    server: float
    clients: float


@dataclass(frozen=True, slots=True)
class LevelFigures:
    """One window under the load of so many clients; requests are counted where they end, tokens pro rata."""

    num_clients: int
    duration_s: float
    output_tokens_per_s: float
    in_time_tokens_per_s: float
    prompt_tokens_per_s: float
    num_ended: Mapping[Kind, int]
    wait_p50_s: float
    wait_p99_s: float
    cores: CpuCores


@dataclass(frozen=True, slots=True)
class IdleState:
    """What the server's metrics say when nobody asks any more."""

    num_used_blocks: float
    num_waiting: float
    num_running: float

    @property
    def is_empty(self) -> bool:
        return self.num_used_blocks == self.num_waiting == self.num_running == 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the verdicts are about."""

    lower: Sequence[LevelFigures]
    overload: LevelFigures
    violations: Mapping[str, int]
    dead: Sequence[str]
    growths: Sequence[Growth]
    idle: IdleState


@dataclass(frozen=True, slots=True)
class Verdict:
    """One criterion, and what was found of it."""

    criterion: str
    met: bool
    found: str


def level_figures(num_clients: int, records: Iterable[Record], window: Window, cores: CpuCores) -> LevelFigures:
    """What the records say of one window."""
    records = list(records)
    ended = [record for record in records if window.start_s <= record.ended_s < window.end_s]
    complete = [record for record in records if record.outcome.kind is Kind.COMPLETE]
    in_time = [record for record in complete if record.wait_s <= IN_TIME_S]
    waits_s = sorted(record.wait_s for record in ended if record.outcome.kind is Kind.COMPLETE)
    return LevelFigures(
        num_clients,
        window.duration_s,
        pro_rata(complete, window, lambda record: record.outcome.num_output_tokens),
        pro_rata(in_time, window, lambda record: record.outcome.num_output_tokens),
        pro_rata(complete, window, lambda record: record.num_prompt_tokens),
        Counter(record.outcome.kind for record in ended),
        median(waits_s) if waits_s else math.nan,
        waits_s[math.ceil(0.99 * len(waits_s)) - 1] if waits_s else math.nan,
        cores,
    )


def pro_rata(records: Iterable[Record], window: Window, tokens: Callable[[Record], int]) -> float:
    """Tokens/s; a record counts by the share of its time, from request to end, that lies in the window.

    Counted where they end, the few long requests that happen to be under way at either end of a short window would make
    its figure one of luck.
    """
    shares = (
        tokens(record) * window.overlap_s(record.sent_s, record.ended_s) / (record.ended_s - record.sent_s)
        for record in records
    )
    return sum(shares) / window.duration_s


def violations(records: Iterable[Record]) -> Counter[str]:
    """How often each."""
    return Counter(record.outcome.reason for record in records if record.outcome.kind is Kind.VIOLATION)


def verdicts(evidence: Evidence) -> list[Verdict]:
    """Every criterion in turn."""
    faults = {reason: count for reason, count in evidence.violations.items() if reason.startswith(_SERVER_FAULT)}
    others = {reason: count for reason, count in evidence.violations.items() if reason not in faults}
    grown = [one for one in evidence.growths if one.ratio >= MAX_GROWTH]
    growing = ", ".join(f"{one.role} {100 * one.ratio:+.1f} %" for one in grown)
    return [
        Verdict("no process died", not evidence.dead, ", ".join(evidence.dead) or "all run"),
        Verdict("no 5xx but 503 with a reason", not faults, _counts(faults)),
        Verdict("every answer complete or refused with a reason", not others, _counts(others)),
        Verdict(f"RSS of each process grows by less than {MAX_GROWTH:.0%}", not grown, growing or "none grows"),
        Verdict("nothing is left when idle", evidence.idle.is_empty, str(evidence.idle)),
        _goodput_verdict(evidence),
    ]


def _goodput_verdict(evidence: Evidence) -> Verdict:
    best = max(evidence.lower, key=lambda level: level.output_tokens_per_s)
    share = evidence.overload.output_tokens_per_s / best.output_tokens_per_s if best.output_tokens_per_s else 0.0
    return Verdict(
        f"goodput at least {MIN_GOODPUT_SHARE:.0%} of the best lower load's",
        share >= MIN_GOODPUT_SHARE,
        f"{share:.1%} of {best.output_tokens_per_s:.1f} tokens/s with {best.num_clients} clients",
    )


def _counts(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count} x {reason}" for reason, count in reasons.items()) or "none"
