"""A running Ray that this process joins for a while."""

import logging
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import ray

from cluster.signals import ignore_signals, signals_held
from llama4coder.errors import ConfigError

_PATIENCE_S = 5.0


@contextmanager
def joined_ray(address: str) -> Iterator[None]:
    """Whatever this process starts there, in a namespace of its own, ends with it; for commands whose signals raise
    `Stopped`.

    Raises:
        ConfigError: there is none at this address, or this machine is none of its nodes.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    with signals_held(), ThreadPoolExecutor(1) as thread:  # in the main one Ray handles signals itself
        thread.submit(_join, address).result()
    try:
        yield
    finally:
        ignore_signals()
        ray.shutdown()


def _join(address: str) -> None:
    try:
        _check_listens(address)
        ray.init(address=address, configure_logging=False, log_to_driver=False)
    except (OSError, OverflowError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"no Ray can be joined at {address}: {reason}; name its head with --address HOST:PORT, on one of its nodes"
        ) from None


def _check_listens(address: str) -> None:
    """Ray would try for minutes. Raises `OSError`, or `ValueError` for what is no address."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError("that is no HOST:PORT")
    socket.create_connection((host.strip("[]"), int(port)), _PATIENCE_S).close()
