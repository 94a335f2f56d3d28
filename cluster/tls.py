"""The certificate of the endpoint, as Serve's `http_options` name it."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llama4coder.errors import ConfigError


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: a certificate with its chain, and its key."""

    cert: Path
    key: Path

    def check(self) -> None:
        """Raise `ConfigError` unless they can be read and belong together."""
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.cert, self.key, password=_no_password)
        except ssl.SSLError as error:
            raise ConfigError(f"{self.cert} and {self.key} are no certificate and its key: {error.reason}") from None
        except OSError as error:
            raise ConfigError(f"{self.cert} or {self.key} cannot be read: {error.strerror}") from None


def tls_files(http_options: Mapping[str, Any]) -> TlsFiles | None:
    """The files that Serve's options name; `ConfigError` if one of the two is missing."""
    cert, key = http_options.get("ssl_certfile"), http_options.get("ssl_keyfile")
    if bool(cert) != bool(key):
        raise ConfigError("TLS needs both http_options.ssl_certfile and http_options.ssl_keyfile")
    return TlsFiles(Path(cert).absolute(), Path(key).absolute()) if cert and key else None


def without_tls(http_options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a Serve that a proxy stands in front of, which speaks TLS itself."""
    return {name: value for name, value in http_options.items() if not name.startswith("ssl_")}


def _no_password() -> str:
    raise ConfigError("the key of the endpoint's certificate has a password; give one without, readable by you alone")
