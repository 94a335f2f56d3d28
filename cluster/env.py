"""The environment of a Ray that is ours alone; the cluster's sibling of `llama4coder.env`."""

import os
import secrets
import tempfile
from pathlib import Path

_MAX_BASE_LENGTH = 24  # Ray puts Unix sockets below, whose paths may have 107 characters


def make_private_folder() -> Path:
    """A new folder with mode 0700 and a short path."""
    usual = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="l4c-", dir=usual if len(usual) <= _MAX_BASE_LENGTH else "/tmp"))


def confine_ray(folder: Path) -> None:
    """Make a Ray started by this process private: loopback only, a token of its own, nothing outside `folder`.

    To be called before `ray` is imported; every process of that Ray inherits it.
    """
    os.environ.pop("RAY_ADDRESS", None)
    os.environ.update(
        {
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # by this name Ray calls: the node's address is 127.0.0.1
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),  # in memory only, so that none is written to the home folder
            "RAY_SERVE_MAX_PER_REPLICA_RETRY_COUNT": "1",  # what cannot start says so at once
            "RAY_SERVE_LOG_TO_STDERR": "0",
            "RAY_worker_niceness": "0",  # Ray would let every other program of the machine go first
            "TMPDIR": str(folder),
        }
    )
