"""Debian's Redis, with the settings that `deploy/kuberay` gives it, on a port of its own."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.live_server import free_port
from tests.support.manifests import DEPLOY

PROGRAM = "redis-server"


def has_redis() -> bool:
    """Whether it is installed."""
    return shutil.which(PROGRAM) is not None


@contextlib.contextmanager
def redis_server(folder: Path, password: str) -> Iterator[str]:
    """Its address while it runs; the password comes on standard input, as in the manifest."""
    port = free_port()
    delivered = (DEPLOY / "kuberay" / "base" / "redis.conf").read_text()
    settings = folder / "redis.conf"
    settings.write_text(delivered.replace("dir /data", f"dir {folder}"))
    own = f"requirepass {password}\nport {port}\nbind 127.0.0.1\n"
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, str(settings), "-"], stdin=subprocess.PIPE, stdout=log, stderr=log)
    assert process.stdin is not None
    process.stdin.write(own.encode())
    process.stdin.close()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)
