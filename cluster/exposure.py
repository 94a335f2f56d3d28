"""Who can reach an address, and what that asks for."""

import ipaddress
from datetime import UTC, datetime
from pathlib import Path

from llama4coder.config import ServerConfig
from llama4coder.errors import ConfigError
from llama4coder.keys.key_file import read_keys
from llama4coder.keys.record import KeyState


def check_exposure(host: str, server: ServerConfig) -> None:
    """Raise `ConfigError` for an endpoint that others could reach without a key."""
    if server.keys_file is None and not is_loopback(host):
        raise ConfigError(
            f"listening on {host} needs API keys, since others can reach it: make one with 'llama4coder keys add NAME "
            "--file /etc/llama4coder/keys.json', and name the file by server.keys_file or --keys-file; without keys "
            "only 127.0.0.1 will do"
        )


def check_ray(host: str, *, is_locked: bool) -> None:
    """Raise `ConfigError` for an endpoint that others can reach on a Ray that asks nobody for a token."""
    if not is_locked and not is_loopback(host):
        raise ConfigError(
            f"listening on {host} needs a Ray with tokens, since whoever reaches Ray's ports can run anything: "
            "start it on every node with RAY_AUTH_MODE=token and the same RAY_AUTH_TOKEN_PATH (see docs/security.md)"
        )


def check_keys(server: ServerConfig) -> None:
    """Raise `ConfigError` for a key file of this node that lets nobody in."""
    if server.keys_file is None:
        return
    keys = read_keys(Path(server.keys_file))
    now = datetime.now(UTC)
    if not any(key.state(now) is KeyState.VALID for key in keys):
        raise ConfigError(
            f"no key in {server.keys_file} counts; make one with 'llama4coder keys add NAME --file {server.keys_file}'"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host; names but `localhost` may mean anything."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
