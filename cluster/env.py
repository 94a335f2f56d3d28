"""The environment of a Ray that is ours alone; the cluster's sibling of `llama4coder.env`."""

import math
import os
import secrets
import tempfile
from pathlib import Path

_NOBODY = "http://127.0.0.1:9"  # the discard port, at which nothing listens any more
_MAX_MESSAGE_BYTES = 256 * 2**20  # half of what Ray's messages may have, and more than any request
_MAX_BASE_LENGTH = 20  # Ray and HAProxy put Unix sockets below, whose paths may have 107 characters


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
            # What Ray does every 100 ms whether there is work or not would cost a small machine a tenth of its cores.
            "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
            "RAY_raylet_report_resources_period_milliseconds": "1000",
            "RAY_task_events_report_interval_ms": "0",  # off: for a dashboard that does not run
            "RAY_enable_metrics_collection": "0",  # Ray's own; ours are on the endpoint
            "RAY_event_stats": "0",
            "RAY_worker_niceness": "0",  # Ray would let every other program of the machine go first
            # Requests travel in messages, never by the object store.
            "RAY_max_direct_call_object_size": str(_MAX_MESSAGE_BYTES),
            "TMPDIR": str(folder),
            **_no_way_out(),
        }
    )


def _no_way_out() -> dict[str, str]:
    """A proxy for HTTP that is not there: Ray asks metadata services in which cloud it is, even without a dashboard."""
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), _NOBODY)
    proxies |= {"no_proxy": "127.0.0.1,localhost,::1"}
    return proxies | {name.upper(): value for name, value in proxies.items()}


def put_haproxy_in_front(folder: Path, launcher: Path, fallback_port: int, client_timeout_s: float) -> None:
    """Make Serve start `launcher` as HAProxy, with all its files in `folder`; to be called before `ray` is imported.

    HAProxy connects to the ingress replicas themselves, which then work in one event loop each. `fallback_port` is
    for the Python proxy that Serve keeps for times without replicas.
    """
    os.environ.update(
        {
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",  # requests are not logged, and the rest is news
            "RAY_SERVE_HAPROXY_BINARY_PATH": str(launcher),
            "RAY_SERVE_HAPROXY_NBTHREAD": "1",  # far more than a machine's ranks can keep busy
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "ctl"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
            "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(math.ceil(client_timeout_s)),  # who neither sends nor takes
            "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",  # a message per request that nobody reads
            "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "3600",  # what a stream may still take after a change of replicas
            "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback_port),
        }
    )
