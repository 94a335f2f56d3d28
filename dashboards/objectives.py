"""What is promised to users, and when a person is called. Change the figures here, then run `make dashboards`."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Objective:
    """A share of requests that may go wrong, and the recorded shares that do; `name` is in the names of its rules."""

    name: str
    budget: float
    meaning: str


@dataclass(frozen=True, slots=True)
class Burn:
    """How many times too fast a budget is used up, over a long window, and over a short one that ends the alert soon.

    The windows and factors are those of the SRE Workbook (chapter 5): 2 % of a month's budget in an hour, 5 % in six.
    """

    long_window: str
    short_window: str
    factor: float
    hold: str
    severity: str


FIRST_TOKEN_S = 2.0  # a bound of the histogram
ERRORS = Objective("errors", 0.005, "requests answered with 5xx")
SLOW_FIRST_TOKENS = Objective(
    "slow_first_tokens", 0.05, f"sequences whose first token took more than {FIRST_TOKEN_S:g} s"
)
BURNS: Sequence[Burn] = (Burn("1h", "5m", 14.4, "2m", "page"), Burn("6h", "30m", 6, "15m", "ticket"))
WINDOWS = ("5m", "30m", "1h", "6h")

KV_FULL = 0.95  # of the fullest shard
REFUSED_SHARE = 0.01
LATE_SHARE = 0.3
PREEMPTED_SHARE = 0.05
PLAN_ERROR, PLAN_KV_ERROR = 0.5, 0.05
DAYS_TO_BUY = 30  # that buying takes
HEADROOM_BYTES = 2**30
KEY_REFUSALS = 50  # in five minutes
REPORT_AGE_S = 10.0
BLIND_SHARE = 0.05
MOST_DAYS = 3650  # told where nothing grows
