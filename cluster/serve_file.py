"""A Ray Serve config file, read without Ray: early enough for early errors."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster.settings import parse_args
from llama4coder.config import DeploymentConfig
from llama4coder.errors import ConfigError

IMPORT_PATH = "cluster.app:build_app"
_DEFAULT_HOST, _DEFAULT_PORT = "127.0.0.1", 8000


@dataclass(frozen=True, slots=True)
class ServeFile:
    """The file as Serve will see it, and the parts that the CLI needs."""

    content: Mapping[str, Any]
    config: DeploymentConfig
    host: str
    port: int


def read_serve_file(path: Path, host: str | None, port: int | None) -> ServeFile:
    """Read and check a file; `host` and `port` win over its own. Raises `ConfigError`."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    config = parse_args(_application(path, content).get("args") or {})
    options = content.get("http_options") or {}
    if not isinstance(options, dict):
        raise ConfigError(f"{path}: http_options must be a mapping")
    host = host or str(options.get("host", _DEFAULT_HOST))
    port = port or options.get("port", _DEFAULT_PORT)
    if not isinstance(port, int):
        raise ConfigError(f"{path}: http_options.port must be a number")
    return ServeFile(content | {"http_options": options | {"host": host, "port": port}}, config, host, port)


def _application(path: Path, content: object) -> Mapping[str, Any]:
    applications = content.get("applications") if isinstance(content, dict) else None
    if not isinstance(applications, list) or len(applications) != 1 or not isinstance(applications[0], dict):
        raise ConfigError(f"{path} is not a Ray Serve config file with one entry under 'applications'")
    application: dict[str, Any] = applications[0]
    if application.get("import_path") != IMPORT_PATH:
        raise ConfigError(f"{path}: applications[0].import_path must be {IMPORT_PATH}")
    return application
