"""What takes replicas away, and how long it takes until they are back."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Starting:
    """A replica from the decision to its first request."""

    provision_s: float = 0.0  # until a node is there, where more replicas are wanted than there were
    process_s: float = 30.0  # processes, libraries, graphs
    storage_bytes_per_s: float = 2e9  # at which each rank reads its weights

    def reload_s(self, weight_bytes: int) -> float:
        """On a node that is there."""
        return self.process_s + weight_bytes / self.storage_bytes_per_s


@dataclass(frozen=True, slots=True)
class Failures:
    """GPUs fail independently of their age, and take their replica with them."""

    gpu_mtbf_s: float
    detection_s: float = 5.0  # until ingresses know: `engine.heartbeat_timeout_s`


@dataclass(frozen=True, slots=True)
class RollingRestart:
    """All replicas anew, so many at once; each first finishes what it has."""

    start_s: float
    num_at_once: int = 1
