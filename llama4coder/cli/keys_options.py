"""What the options of `llama4coder keys add` mean; each raises `ConfigError` for what means nothing."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from llama4coder.errors import ConfigError
from llama4coder.keys.record import Limits, Name

_DURATION = re.compile(r"([1-9][0-9]{0,3})([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def parse_name(text: str) -> str:
    """A tenant's name."""
    try:
        return msgspec.convert(text, Name)
    except msgspec.ValidationError:
        raise ConfigError("a name is 1 to 64 of A-Z a-z 0-9 . _ @ - and begins with a letter or digit") from None


def parse_moment(text: str, now: datetime) -> datetime:
    """A time from now, or the beginning of a day."""
    try:
        duration = _DURATION.fullmatch(text)
        if duration is not None:
            moment = now + int(duration[1]) * _UNITS[duration[2]]
        else:
            moment = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ConfigError("--expires is a time such as 12h, 90d or 8w, or a date such as 2027-01-31") from None
    if moment <= now:
        raise ConfigError("--expires is in the past")
    return moment


def parse_limits(options: Sequence[str]) -> Limits:
    """`NAME=NUMBER` each."""
    given = {name: number for name, _, number in (option.partition("=") for option in options)}
    known = Limits.__struct_fields__
    if len(given) < len(options) or not set(given) <= set(known):
        raise ConfigError(f"--limit is NAME=NUMBER, once for each of {', '.join(known)}")
    try:
        return msgspec.convert(given, Limits, strict=False)
    except msgspec.ValidationError:
        raise ConfigError("--limit needs a whole number above zero, such as requests_per_min=60") from None
