"""Lines that all simulations end with, for the terminal."""

from collections.abc import Iterator
from typing import Protocol

from llama4coder.simulator.outcome import Objectives


class Paid(Protocol):
    """An outcome, as far as it is paid for."""

    @property
    def gpu_hours(self) -> float: ...
    @property
    def cost(self) -> float | None: ...
    @property
    def cost_per_million_output_tokens(self) -> float | None: ...


def cost_lines(outcome: Paid) -> Iterator[tuple[str, str]]:
    """GPU hours, and what they cost where there is a price."""
    yield "GPU hours", f"{outcome.gpu_hours:,.2f}"
    if outcome.cost is not None:
        yield "cost", f"{outcome.cost:,.2f}"
    if outcome.cost_per_million_output_tokens is not None:
        yield "cost of a million output tokens", f"{outcome.cost_per_million_output_tokens:,.2f}"


def goals(objectives: Objectives) -> str:
    """What good means."""
    return f"TTFT {objectives.ttft_s:g} s, {objectives.itl_s * 1000:g} ms/token"


def duration(seconds: float) -> str:
    """In the unit that suits it."""
    return f"{1000 * seconds:,.1f} ms" if seconds < 1 else f"{seconds:,.2f} s"
