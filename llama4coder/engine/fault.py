"""How a fault nobody expected is logged: where it happened, never what the data was."""

import logging
import traceback


def log_fault(log: logging.Logger, what: str, error: BaseException) -> None:
    """Log the kind of an exception and the lines it came through; its message may hold a prompt and is left out."""
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error("%s: %s at\n%s", what, type(error).__name__, where)
