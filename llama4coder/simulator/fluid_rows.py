"""Sequences that generate at a mean replica, by how long their outputs are: short ones come and go at once."""

import numpy as np

from llama4coder.simulator.fluid_demand import Floats

_NUM_GROUPS = 16


class FluidRows:
    """As many requests of each group, each with a mean length of its own."""

    def __init__(self, num_output: Floats) -> None:
        groups = np.array_split(np.sort(num_output - 1), _NUM_GROUPS)
        self._decoded = np.array([float(np.mean(group)) for group in groups])
        self._rows = np.zeros(_NUM_GROUPS)

    @property
    def total(self) -> float:
        return float(np.sum(self._rows))

    def most_served(self, most_rows: float, itl_s: float, span_s: float) -> float:
        """Requests per second after which there are so many rows at the end of a span."""
        stays = self._stays(itl_s, span_s)
        added = self._decoded * itl_s * (1 - stays) / _NUM_GROUPS
        return max(0.0, most_rows - float(np.sum(self._rows * stays))) / max(1e-12, float(np.sum(added)))

    def advance(self, served: float, itl_s: float, span_s: float) -> None:
        """A span in which so many requests begin in each second."""
        wanted = served / _NUM_GROUPS * self._decoded * itl_s
        self._rows = wanted + (self._rows - wanted) * self._stays(itl_s, span_s)

    def _stays(self, itl_s: float, span_s: float) -> Floats:
        """Share of the rows of each group that are still there at the end of a span."""
        return np.asarray(np.exp(-span_s / np.maximum(1e-9, self._decoded * itl_s)))
