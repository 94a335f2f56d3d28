"""A plan, for the terminal."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from llama4coder.planner.report import Alternative, Memory, Needs, Report, Speed, Subject

_GIB = 2**30


def view(report: Report) -> RenderableType:
    """What fits, how fast it is, and what it takes; or what would fit."""
    parts: list[RenderableType] = [_headline(report.subject, report.memory), _memory(report.memory)]
    if report.nearest:
        parts.append(_alternatives(report.nearest))
    if report.speed is not None and report.needs is not None:
        parts += [_speed(report.speed), _needs(report.needs)]
    subject = report.subject
    times = subject.calibration or f"shares of the data sheet from {subject.efficiency}"
    parts.append(Text(f"times: {times}", style="dim"))
    return Group(*parts)


def _headline(subject: Subject, memory: Memory) -> Text:
    formats = f"{subject.quant} weights, {subject.kv_format} KV"
    what = f"{subject.model}, {formats}, {subject.context_length:,} tokens of context"
    where = f"{subject.ranks} x {subject.gpu} (heads shards x KV shards: {subject.layout})"
    verdict = (
        f"fits, with {_gib(memory.spare)} to spare on each rank beside one full sequence"
        if memory.fits
        else f"does not fit: {_gib(-memory.spare)} are missing on each rank for one full sequence"
    )
    return Text.assemble((f"{what}\non {where}\n", ""), (verdict, "bold green" if memory.fits else "bold red"))


def _memory(memory: Memory) -> Table:
    rank, table = memory.rank, _table("memory of the fullest rank", "GiB", "bytes")
    for name, num_bytes in (
        ("weights", rank.weights),
        ("KV blocks", rank.kv_blocks),
        ("KV tails", rank.kv_tails),
        ("activations of the largest step", rank.activations),
        ("sampling of the largest step", rank.sampler),
        ("CUDA graphs", rank.graphs),
        ("tables", rank.buffers),
        ("runtime", rank.runtime),
        ("reserve outside the budget", memory.reserve),
        ("GPU", memory.gpu),
    ):
        if num_bytes:
            table.add_row(name, f"{num_bytes / _GIB:.2f}", f"{num_bytes:,}")
    table.add_section()
    for held in memory.sequences:
        told = "not served" if held.num_sequences is None else f"{held.num_sequences:,}"
        table.add_row(f"sequences of {held.num_tokens:,} tokens that fit", told, "")
    return table


def _alternatives(nearest: Sequence[Alternative]) -> Table:
    table = _table("the nearest plans that fit", "ranks", "GPU", "GiB to spare")
    for each in nearest:
        table.add_row(" and ".join(each.changes), str(each.ranks), each.gpu, f"{each.spare / _GIB:.2f}")
    return table


def _speed(speed: Speed) -> Table:
    table = _table("each replica", "alone", f"at {speed.requests_per_s:.3g} requests/s", "bound by")
    for name, alone, loaded, bound in _speed_lines(speed):
        table.add_row(name, alone, loaded, bound)
    return table


def _speed_lines(speed: Speed) -> Iterator[tuple[str, str, str, str]]:
    yield "first token, ms", _ms(speed.idle_ttft_s), _ms(speed.ttft_s), speed.ttft_bound
    for name, seconds in (
        ("  waits for room", speed.slot_wait_s),
        ("  waits for prompts before", speed.prefill_wait_s),
        ("  waits for the running step", speed.step_wait_s),
        ("  its own prompt", speed.prefill_s),
        ("  the way to the engine and back", speed.front_s or None),  # where it was measured
    ):
        if seconds is not None:
            yield name, "", _ms(seconds), ""
    yield "between tokens, ms", _ms(speed.idle_itl_s), _ms(speed.itl_s), speed.itl_bound
    yield "tokens/s/user", f"{1 / speed.idle_itl_s:.1f}", f"{speed.tokens_per_s_per_user:.1f}", speed.itl_bound
    yield "tokens/s/GPU", "", f"{speed.tokens_per_s_per_gpu:,.0f}", speed.capacity_bound
    yield "sequences that generate", "1", f"{speed.sequences:.1f} of {speed.most_sequences}", speed.sequences_bound
    yield "share of its capacity", "", f"{speed.utilisation:.0%} of {speed.max_requests_per_s:.3g} requests/s", ""
    if speed.guesses:
        yield "guesses of a step", "", f"{speed.guesses}, {speed.tokens_per_step:.2f} tokens", ""


def _needs(needs: Needs) -> Table:
    table = _table(f"for {needs.requests_per_s:.3g} requests/s", "")
    for name, value in _need_lines(needs):
        table.add_row(name, value)
    return table


def _need_lines(needs: Needs) -> Iterator[tuple[str, str]]:
    yield "replicas of the target", f"{needs.target_replicas:,}"
    if needs.draft_replicas:
        yield "replicas of the draft pool", f"{needs.draft_replicas:,}"
    missing = f", {needs.missing_gpus:,} more than there are" if needs.missing_gpus else ""
    yield "GPUs", f"{needs.gpus:,}{missing}"
    yield "tokens/s of output", f"{needs.output_tokens_per_s:,.0f}"
    if needs.price_per_million_output_tokens is not None:
        price = f"{needs.price_per_million_output_tokens:.2f} at {needs.gpu_hour:g} for a GPU's hour"
        yield "price of a million tokens of output", price
    if needs.guessing_gain is not None and needs.guessing_gain_per_gpu is not None:
        yield "guesses: speed of a user alone", f"{needs.guessing_gain:.2f} times"
        yield "guesses: tokens/s/GPU", f"{needs.guessing_gain_per_gpu:.2f} times"
    if needs.elasticity is not None:
        yield "first token later, for 1 % less capacity", f"{needs.elasticity:.1f} %"
    for each in needs.shortfalls[1:]:
        told = "would not keep up" if each.ttft_s is None else f"{_ms(each.ttft_s)} ms, at {each.utilisation:.0%}"
        yield f"first token with {each.lacking:.0%} less capacity", told


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f}" if seconds < 1 else f"{seconds * 1e3:,.0f}"


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / _GIB:.2f} GiB"


def _table(title: str, *columns: str) -> Table:
    table = Table(title, box=box.SIMPLE_HEAD)
    for name in columns:
        table.add_column(name, justify="right")
    return table
