"""HAProxy in front of a Ray of the tests, with the environment that a cluster's nodes have (`deploy/ray/ray.env`)."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support.live_server import free_ports
from tests.support.manifests import DEPLOY


def ray_environment() -> dict[str, str]:
    """The variables of `deploy/ray/ray.env`."""
    lines = (DEPLOY / "ray" / "ray.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@contextlib.contextmanager
def haproxy_environment() -> Iterator[Mapping[str, str]]:
    """Those with which Serve starts HAProxies, whose files and ports are the test's own."""
    folder = Path(tempfile.mkdtemp(prefix="hap-", dir="/tmp"))
    stats, metrics, fallback = free_ports(3)
    own = {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "ctl"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback),
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",  # on a crowded machine, where Serve would kill it after 5 s
    }
    serves = {name: value for name, value in ray_environment().items() if name.startswith("RAY_SERVE_")}
    try:
        yield serves | own
    finally:
        shutil.rmtree(folder, ignore_errors=True)
