"""A whole life of a server in a network of its own: `unshare -rn python -m tests.silence.lone_session FOLDER`.

Prints how often the kernel was asked for a way to anywhere but loopback, whoever asked.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx

from tests.silence.deck import dialects
from tests.support.live_server import start_server

MODEL = "smollm2-135m-instruct"
ARGS = {
    "model": {"path": "embedded", "name": MODEL, "dtype": "float32", "context_length": 4096},
    "engine": {"kv_memory_bytes": 200 * 2**20},
}
WATCHED = Path(__file__).with_name("watched")
SILENT = {"/v1/fim/completions", "/infill"}  # refused: the model fills no holes


def live(folder: Path) -> dict[str, object]:
    """Start the server, speak every dialect, stop it."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    before = routeless()
    paths = os.pathsep.join(filter(None, (str(WATCHED), os.environ.get("PYTHONPATH"))))
    server = start_server(folder, ARGS, PYTHONPATH=paths, OUTGOING_LOG=str(folder / "outgoing"))
    try:
        server.wait_until_ready()
        answers = {}
        for dialect in dialects(MODEL, "harmless"):
            answer = httpx.post(server.url + dialect.path, json=dialect.body, timeout=60)
            answers.setdefault(dialect.path, answer.status_code)
        answers["/metrics"] = httpx.get(f"{server.url}/metrics").status_code
        status = server.stop()
    finally:
        server.process.kill()
    return {"answers": answers, "status": status, "routeless": routeless() - before, "output": server.output()}


def routeless() -> int:
    """Packets and connections that had no way to go, in this network."""
    names, values = (
        line.split()[1:] for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Ip:")
    )
    sixth = dict(line.split() for line in Path("/proc/net/snmp6").read_text().splitlines())
    return int(dict(zip(names, values, strict=True))["OutNoRoutes"]) + int(sixth["Ip6OutNoRoutes"])


if __name__ == "__main__":
    json.dump(live(Path(sys.argv[1])), sys.stdout)
