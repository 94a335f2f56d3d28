"""Where a channel is bound, and how both ends of it are secured."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address that a peer may connect to; small, and sent through Ray.

    `public_key` is the binder's CURVE key; without a key the address is a Unix socket in a folder that only its owner
    can open. The key never leaves the cluster, so whoever knows it was told by a member.
    """

    address: str
    public_key: bytes | None


def bind_private(socket: "zmq.Socket[Any]", folder: Path, name: str) -> Endpoint:
    """Bind to a Unix socket in `folder`, which must exist with mode 0700; for two processes of one node."""
    address = f"ipc://{folder / name}"
    socket.bind(address)
    return Endpoint(address, None)


def bind_encrypted(socket: "zmq.Socket[Any]", host: str) -> Endpoint:
    """Bind to a free TCP port of `host` with a CURVE key pair made here."""
    public_key, secret_key = zmq.curve_keypair()
    socket.curve_server = True
    socket.curve_secretkey = secret_key
    socket.ipv6 = ":" in host
    socket.bind(f"tcp://[{host}]:*" if ":" in host else f"tcp://{host}:*")
    return Endpoint(socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0"), public_key)


def connect(socket: "zmq.Socket[Any]", endpoint: Endpoint) -> None:
    """Connect to `endpoint`, encrypted if it has a key."""
    if endpoint.public_key is not None:
        public_key, secret_key = zmq.curve_keypair()
        socket.curve_publickey = public_key
        socket.curve_secretkey = secret_key
        socket.curve_serverkey = endpoint.public_key
        socket.ipv6 = "[" in endpoint.address
    socket.connect(endpoint.address)
