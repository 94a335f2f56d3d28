"""A real Prometheus on loopback, with our scrape configuration and rules."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from dashboards.generate import FOLDER
from tests.support.live_server import free_port

START_TIMEOUT_S = 60.0
_EVERY, _RAY_EVERY = "2s", "10s"  # a busy node's exporter takes seconds


@dataclass(frozen=True, slots=True)
class Sample:
    """A series at one moment."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Line:
    """A series over time."""

    labels: Mapping[str, str]
    times_s: Sequence[float]
    values: Sequence[float]


class Prometheus:
    """Asked by its HTTP API."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=30)

    def close(self) -> None:
        self._client.close()

    def is_ready(self) -> bool:
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def reload(self) -> None:
        """Have it read its configuration and rules again."""
        answer = self._client.post("/-/reload")
        assert answer.status_code == 200, answer.text

    def query(self, expression: str) -> list[Sample]:
        result = self._ask("query", query=expression)["result"]
        return [Sample(each["metric"], float(each["value"][1])) for each in result]

    def lines(self, expression: str, start_s: float, end_s: float, step_s: float) -> list[Line]:
        result = self._ask("query_range", query=expression, start=start_s, end=end_s, step=step_s)["result"]
        return [
            Line(each["metric"], [float(at) for at, _ in each["values"]], [float(value) for _, value in each["values"]])
            for each in result
        ]

    def ever_fired(self) -> set[str]:
        """Names of all alerts that have fired."""
        fired = self.query('max_over_time(ALERTS{alertstate="firing"}[1d])')
        return {sample.labels["alertname"] for sample in fired}

    def rule_problems(self) -> list[str]:
        """Rules that could not be evaluated."""
        groups = self._ask("rules")["groups"]
        return [
            f"{rule['name']}: {rule.get('lastError')}"
            for each in groups
            for rule in each["rules"]
            if rule["health"] == "err"
        ]

    def _ask(self, what: str, **parameters: Any) -> dict[str, Any]:
        answer = self._client.get(f"/api/v1/{what}", params=parameters).json()
        assert answer["status"] == "success", answer
        data: dict[str, Any] = answer["data"]
        return data


def write_configuration(
    folder: Path,
    addresses: Sequence[str],
    key_file: Path | None = None,
    exporters: Path | None = None,
    changes: Mapping[str, str] | None = None,
) -> Path:
    """The generated files, with these addresses, faster, and with alerts that wait for nothing.

    `exporters` is Ray's list of its own. `changes` says by what parts of the rules are replaced; `AssertionError` if
    one is in none of them.
    """
    (folder / "rules").mkdir(parents=True, exist_ok=True)
    files = {file.name: file.read_text() for file in (FOLDER / "prometheus/rules").glob("*.yml")}
    for part, shorter in (changes or {}).items():
        assert any(part in text for text in files.values()), part
        files = {name: text.replace(part, shorter) for name, text in files.items()}
    for name, text in files.items():
        content = yaml.safe_load(text)
        for rule in (rule for group in content["groups"] for rule in group["rules"] if "for" in rule):
            rule["for"] = "0s"
        (folder / "rules" / name).write_text(yaml.safe_dump(content))
    content = yaml.safe_load((FOLDER / "prometheus/prometheus.yml").read_text())
    content["global"] = {"scrape_interval": _EVERY, "evaluation_interval": _EVERY}
    ours, rays = content["scrape_configs"]
    rays["scrape_interval"] = _RAY_EVERY
    if exporters is not None:
        rays["file_sd_configs"][0] |= {"files": [str(exporters)], "refresh_interval": _EVERY}
    ours["static_configs"][0]["targets"] = list(addresses)
    if key_file is not None:
        ours["authorization"] = {"credentials_file": str(key_file)}
    target = folder / "prometheus.yml"
    target.write_text(yaml.safe_dump(content))
    return target


@contextlib.contextmanager
def running_prometheus(folder: Path, configuration: Path) -> Iterator[Prometheus]:
    """Ready, and stopped at the end; its data are in `folder`."""
    program = shutil.which("prometheus")
    assert program is not None, "Debian's package prometheus"
    port = free_port()
    command = [program, f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'data'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--web.enable-lifecycle", "--log.level=warn"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    prometheus = Prometheus(f"http://127.0.0.1:{port}")
    try:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not prometheus.is_ready():
            assert process.poll() is None and time.monotonic() < deadline_s, (folder / "prometheus.log").read_text()
            time.sleep(0.2)
        yield prometheus
    finally:
        prometheus.close()
        process.terminate()
        process.wait(30)
