"""Options of a command, checked one by one."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from llama4coder.errors import ConfigError

_Options = TypeVar("_Options")


def checked_as(params: Mapping[str, Any], kind: type[_Options], command: str) -> _Options:
    """The parameters of a call as a struct of the same names.

    Raises:
        ConfigError: one of them makes no sense; names it.
    """
    try:
        return msgspec.convert(params, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).rpartition(" - at ")
        option = where.strip("`$.").replace("[...]", "").replace("_", "-")
        raise ConfigError(f"--{option}: {what[:1].lower()}{what[1:]}; see `llama4coder {command} --help`") from error
