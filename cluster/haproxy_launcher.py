"""What Ray Serve starts in HAProxy's place: HAProxy, confined to one listener and tied to the life of its parent.

Serve writes HAProxy's configuration itself, and has no setting for some of what we need: its statistics and metrics
pages would listen on every interface, every request would be logged, HAProxy would connect to the name servers of the
machine though it has no name to look up, clients could take hours over their headers, and with splicing a crowd of
clients that leave at once makes HAProxy 2.8 spin and forget to tell the ingress of some. Run as a file, so it needs
nothing but the standard library.
"""

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

_SECTIONS = frozenset({"global", "defaults", "frontend", "listen", "backend", "resolvers"})
_REPLACED = frozenset({"frontend", "listen", "resolvers"})
_FRONTEND = ["frontend", "http_frontend"]
_SPLICING = (["option", "splice-request"], ["option", "splice-response"])
_LIMITS = {  # by section
    "global": ["tune.http.maxhdr 100"],  # headers, of 15 KB together by the size of HAProxy's buffers
    "defaults": ["timeout http-request 10s"],  # until the last header
}
# Without a section of this name HAProxy makes one of /etc/resolv.conf; nothing listens at the discard port.
_RESOLVERS = ["resolvers default", "    nameserver nobody 127.0.0.1:9"]
_PR_SET_PDEATHSIG = 1
_OWN_FILES = 128  # of HAProxy itself: listeners, threads, checks


def confine(config: str, listener: str, error_file: str, max_open_files: int) -> str:
    """Serve's configuration with one `listener`, no log or resolvers, limits of headers, and `error_file` for failures.

    A connection has two ends: no more are admitted than there may be open files for, or HAProxy would not start.
    """
    kept: list[str] = []
    is_kept, section = True, ""
    for line in config.splitlines():
        words = line.split()
        keyword = words[0] if words else ""
        if keyword in _SECTIONS:
            section = keyword
            is_kept = keyword not in _REPLACED or words == _FRONTEND
        if not is_kept or keyword == "log" or words[:2] in _SPLICING or " ".join(words) in _LIMITS.get(section, []):
            continue
        if keyword == "maxconn":
            line = f"    maxconn {min(int(words[1]), max(1, (max_open_files - _OWN_FILES) // 2))}"
        elif keyword == "bind":
            line = f"    bind {listener}"
        elif keyword == "errorfile":
            line = f"    errorfile {words[1]} {error_file}"
        kept.append(line)
        if keyword in _SECTIONS:
            kept += [f"    {limit}" for limit in _LIMITS.get(keyword, [])]
    return "\n".join([*kept, *_RESOLVERS]) + "\n"


def launch(binary: str, listener: str, error_file: str, arguments: list[str]) -> None:
    """Become HAProxy, with the configuration that `-f` names among its arguments confined in place."""
    file = Path(arguments[arguments.index("-f") + 1])
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    max_open_files = sys.maxsize if hard_limit == resource.RLIM_INFINITY else hard_limit
    file.write_text(confine(file.read_text(), listener, error_file, max_open_files))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # without its manager it would only hold the port
    os.execv(binary, [binary, *arguments])


if __name__ == "__main__":
    launch(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
