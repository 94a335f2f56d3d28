"""A forecast on disk, read again when it changes."""

import logging
from dataclasses import dataclass
from pathlib import Path

from llama4coder.errors import ConfigError
from llama4coder.scaling.forecast import Forecast, parse_forecast

_CHECK_PERIOD_S = 10.0

_log = logging.getLogger("ray.serve")  # the one that Serve writes to its files


@dataclass(frozen=True, slots=True)
class ForecastPlace:
    """Where it lies on the head node, and how it is read."""

    path: str
    zone: str
    ahead_s: float
    most: int  # replicas that it may want


class ForecastFile:
    """Looks at the file now and then; what cannot be read is said once, and the last forecast stays."""

    def __init__(self, place: ForecastPlace) -> None:
        self._path = Path(place.path)
        self._zone = place.zone
        self._ahead_s = place.ahead_s
        self._most = place.most
        self._forecast = Forecast()
        self._version = 0
        self._checked_s = float("-inf")

    def read(self) -> Forecast:
        """What it says now.

        Raises:
            ConfigError: names the file, and what is wrong with it.
        """
        try:
            with self._path.open(encoding="utf-8-sig") as lines:  # spreadsheets write a mark first
                return parse_forecast(lines, self._zone, self._most)
        except (OSError, UnicodeDecodeError, ConfigError) as error:
            raise ConfigError(f"scaling.forecast_file {self._path}: {error}") from error

    def floor(self, now_s: float) -> int:
        """Replicas that should be there now, or by the time that one takes to start."""
        if not 0 <= now_s - self._checked_s < _CHECK_PERIOD_S:
            self._checked_s = now_s
            self._refresh()
        return self._forecast.floor(now_s, self._ahead_s)

    def _refresh(self) -> None:
        try:
            version = self._path.stat().st_mtime_ns
        except OSError:
            version = -1  # reading says why
        if version == self._version:
            return
        self._version = version
        try:
            self._forecast = self.read()
        except ConfigError as error:
            _log.warning("%s; the forecast before stays", error)
