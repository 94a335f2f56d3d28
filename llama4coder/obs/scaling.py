"""Why there are as many replicas as there are."""

from dataclasses import dataclass
from enum import StrEnum


class ScaleReason(StrEnum):
    """What the last change of a number of replicas came from."""

    START = "start"  # there has been none
    KV_BLOCKS = "kv_blocks"  # too large a share was promised, or would be to whoever waits
    PREFILL = "prefill"  # prompts took too large a share of the time
    BACKLOG = "backlog"  # prompts waited to be computed
    FIRST_TOKENS = "first_tokens"  # they came late, and later and later
    STREAMS = "streams"
    BUSY = "busy"  # draft replicas drafted most of the time
    LATE = "late"  # their rounds came too late to be of use
    CALLED = "called"  # an empty pool was called for
    FORECAST = "forecast"
    QUIET = "quiet"  # fewer will do
    NO_GAIN = "no_gain"  # drafts cost more time than they saved
    BOUNDS = "bounds"  # these were changed


@dataclass(frozen=True, slots=True)
class Unplaced:
    """Replicas of a deployment that start as soon as there is room."""

    deployment: str
    resource: str  # that is missing
    num_replicas: int
