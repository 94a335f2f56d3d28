"""On the path of every Python process of a test: notes whatever would leave this machine, and who wanted it."""

import os
import sys
import traceback

_LOG = os.environ["OUTGOING_LOG"]
_LOOPBACK = ("127.", "::1", "localhost")
_EVENTS = ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname")


def _note(event: str, args: tuple[object, ...]) -> None:
    if event not in _EVENTS:
        return
    host = args[0] if event.startswith("socket.gethost") or event == "socket.getaddrinfo" else args[1]
    if isinstance(host, tuple):
        host = host[0]
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        return  # a Unix socket, or one that is connected
    name = host.decode() if isinstance(host, bytes) else str(host or "127.")
    if not name.startswith(_LOOPBACK) and name not in ("0.0.0.0", "::"):
        with open(_LOG, "a") as log:
            log.write(f"{event} {name} by {''.join(traceback.format_stack()[-6:-1])}\n")


sys.addaudithook(_note)
