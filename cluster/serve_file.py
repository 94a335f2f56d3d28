"""A Ray Serve config file, read without Ray: early enough for early errors."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster.settings import parse_args
from cluster.tls import TlsFiles, tls_files
from llama4coder.config import DeploymentConfig
from llama4coder.errors import ConfigError

IMPORT_PATH = "cluster.app:build_app"
_DEFAULT_HOST, _DEFAULT_PORT = "127.0.0.1", 8000


@dataclass(frozen=True, slots=True)
class Security:
    """What an operator may say beside a file."""

    keys_file: Path | None = None
    tls: TlsFiles | None = None


NO_SECURITY = Security()


@dataclass(frozen=True, slots=True)
class ServeFile:
    """The file as Serve will see it, and the parts that the CLI needs."""

    content: Mapping[str, Any]
    config: DeploymentConfig
    host: str
    port: int
    tls: TlsFiles | None = None


def read_serve_file(path: Path, host: str | None, port: int | None, security: Security = NO_SECURITY) -> ServeFile:
    """Read and check a file; what is given beside it wins over its own. Raises `ConfigError`."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    application = _application(path, content)
    if security.keys_file is not None:
        application["args"] = _with_keys(application.get("args") or {}, security.keys_file)
    config = parse_args(application.get("args") or {})
    options = content.get("http_options") or {}
    if not isinstance(options, dict):
        raise ConfigError(f"{path}: http_options must be a mapping")
    if security.tls is not None:
        options = options | {"ssl_certfile": str(security.tls.cert), "ssl_keyfile": str(security.tls.key)}
    host = host or str(options.get("host", _DEFAULT_HOST))
    port = port or options.get("port", _DEFAULT_PORT)
    if not isinstance(port, int):
        raise ConfigError(f"{path}: http_options.port must be a number")
    content = content | {"http_options": options | {"host": host, "port": port}}
    return ServeFile(content, config, host, port, tls_files(options))


def _with_keys(args: Mapping[str, Any], keys_file: Path) -> dict[str, Any]:
    return {**args, "server": {**(args.get("server") or {}), "keys_file": str(keys_file.absolute())}}


def _application(path: Path, content: object) -> dict[str, Any]:
    applications = content.get("applications") if isinstance(content, dict) else None
    if not isinstance(applications, list) or len(applications) != 1 or not isinstance(applications[0], dict):
        raise ConfigError(f"{path} is not a Ray Serve config file with one entry under 'applications'")
    application: dict[str, Any] = applications[0]
    if application.get("import_path") != IMPORT_PATH:
        raise ConfigError(f"{path}: applications[0].import_path must be {IMPORT_PATH}")
    return application
