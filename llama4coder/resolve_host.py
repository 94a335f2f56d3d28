"""How much host memory a rank takes for KV blocks that leave its own."""

from llama4coder.config import DeploymentConfig
from llama4coder.errors import ConfigError, NotEnoughMemory
from llama4coder.machine import Machine
from llama4coder.resolve_scaling import most_targets

_AUTO_SHARE = 0.5  # of what is free on a node with GPUs, whose other processes need little
_AUTO_BYTES = 32 * 2**30  # of one rank: pinning takes seconds per GiB at the start


def num_host_blocks(
    config: DeploymentConfig, machine: Machine, *, left_bytes: int, num_sharing: int, block_bytes: int
) -> int:
    """Slots of one rank.

    `num_sharing` ranks of a replica share a node; `left_bytes` is what their KV leaves to each where that lies in host
    memory itself.

    Raises:
        ConfigError: memory for prefixes that are not cached.
        NotEnoughMemory: more than there is, or less than a block takes.
    """
    wanted_bytes = config.engine.host_memory_bytes
    if wanted_bytes == "auto":
        return _auto_bytes(config, machine, num_sharing) // block_bytes
    if wanted_bytes == 0:
        return 0
    if not config.engine.prefix_caching:
        raise ConfigError(
            "engine.host_memory_bytes keeps blocks by the names that prefix caching gives them, and "
            "engine.prefix_caching is false: set one to 0 or the other to true"
        )
    free_bytes = left_bytes if machine.device == "cpu" else machine.host_memory_bytes // num_sharing
    if wanted_bytes > free_bytes:
        raise NotEnoughMemory(
            f"engine.host_memory_bytes ({_gib(wanted_bytes)}) is more than the {_gib(max(0, free_bytes))} that each "
            f"rank's part of the node's free memory has left: lower it"
        )
    if wanted_bytes < block_bytes:
        raise NotEnoughMemory(
            f"engine.host_memory_bytes ({wanted_bytes}) cannot hold one block of {block_bytes} bytes: raise it, or 0"
        )
    return wanted_bytes // block_bytes


def _auto_bytes(config: DeploymentConfig, machine: Machine, num_sharing: int) -> int:
    """Nothing on a CPU, where copies would take memory from the blocks themselves."""
    if machine.device == "cpu" or not config.engine.prefix_caching:
        return 0
    num_ranks = num_sharing * most_targets(config)  # if one node holds them all
    return min(int(machine.host_memory_bytes * _AUTO_SHARE) // num_ranks, _AUTO_BYTES)


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"
