"""From the configuration to whoever tells the collector, or to nobody."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import Counter

from llama4coder.config import TelemetryConfig
from llama4coder.errors import ConfigError

if TYPE_CHECKING:
    from llama4coder.telemetry.otlp import OtlpTelemetry

_EXPORTER = "opentelemetry.exporter.otlp.proto.http"


def check_telemetry(config: TelemetryConfig) -> None:
    """Raise `ConfigError` if a collector is configured and what speaks to it is not installed."""
    if config.otlp_endpoint is not None and not _is_installed():
        raise ConfigError(
            "telemetry.otlp_endpoint needs OpenTelemetry's exporter, on every node: pip install 'llama4coder[otlp]', "
            "or opentelemetry-exporter-otlp-proto-http; or leave it out"
        )


def build_telemetry(config: TelemetryConfig, instance: str, dropped: Counter) -> "OtlpTelemetry | None":
    """Whoever tells the collector of this process's requests; None, and nothing loaded, where there is no collector.

    Raises:
        ConfigError: the exporter is not installed, or `headers_file` cannot be read.
    """
    if config.otlp_endpoint is None:
        return None
    check_telemetry(config)
    from llama4coder.telemetry.delivery import Collector
    from llama4coder.telemetry.losses import Losses
    from llama4coder.telemetry.otlp import OtlpTelemetry

    headers = {} if config.headers_file is None else read_headers(Path(config.headers_file))
    collector = Collector(config.otlp_endpoint, config.timeout_s, headers, config.ca_file)
    return OtlpTelemetry(collector, instance, config.sample_ratio, config.interval_s, Losses(dropped))


def read_headers(file: Path) -> dict[str, str]:
    """One `name: value` a line; `ConfigError`, which tells nothing of the values, if it cannot be read so."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"telemetry.headers_file {file} cannot be read: {type(error).__name__}") from None
    headers: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            name, colon, value = line.partition(":")
            if not (colon and name.strip() and value.strip()):
                raise ConfigError(f"telemetry.headers_file {file}: line {number} is no 'name: value'")
            headers[name.strip()] = value.strip()
    return headers


def _is_installed() -> bool:
    try:
        return find_spec(_EXPORTER) is not None
    except ModuleNotFoundError:  # not even OpenTelemetry's own package
        return False
