"""The part of the product that runs on Ray: the only package that imports it."""

from llama4coder.env import silence_telemetry
from llama4coder.faults import forbid_core_dumps

# Here, because every process of the cluster imports this first, and libraries read the environment on import.
silence_telemetry()
forbid_core_dumps()
