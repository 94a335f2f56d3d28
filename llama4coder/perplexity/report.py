"""What comes of comparing formats."""

from collections.abc import Iterable
from dataclasses import dataclass

from llama4coder.config import DType
from llama4coder.errors import ConfigError
from llama4coder.perplexity.formats import Format
from llama4coder.perplexity.interval import Estimate


@dataclass(frozen=True, slots=True)
class Measured:
    """One format on one text."""

    dtype: DType  # of what the formats leave as it is
    perplexity: Estimate
    difference_percent: Estimate | None  # against the baseline; None for itself, and where that could not be had
    weight_bytes: int
    kv_bytes_per_token: float
    tokens_per_s: float  # scored, one window at a time


@dataclass(frozen=True, slots=True)
class Row:
    """A format, and either what was measured or why nothing could be."""

    format: Format
    measured: Measured | None
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """All formats on the same text."""

    model: str
    num_tokens: int  # scored
    context_length: int
    rows: tuple[Row, ...]  # the baseline first

    @classmethod
    def of(cls, model: str, num_tokens: int, context_length: int, rows: Iterable[Row]) -> "Report":
        """Raises `ConfigError`, in the words of the first refusal, if nothing could be measured."""
        complete = cls(model, num_tokens, context_length, tuple(rows))
        if all(row.measured is None for row in complete.rows):
            raise ConfigError(complete.rows[0].refusal or "there is no format to measure")
        return complete
