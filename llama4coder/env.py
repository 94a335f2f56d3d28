"""The only module of `llama4coder` that reads or sets environment variables."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

CACHE_VARIABLE = "LLAMA4CODER_CACHE"
API_KEY_VARIABLE = "LLAMA4CODER_API_KEY"

_QUIET: Mapping[str, str] = MappingProxyType(
    {
        "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
)


def cache_dir() -> Path:
    """Where converted models are kept: LLAMA4CODER_CACHE, else the user's cache folder."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser().absolute()
    user_cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(user_cache).expanduser().absolute() / "llama4coder"


def api_key() -> str | None:
    """The key that our own commands show to an endpoint; not an option, which other users of a machine could read."""
    return os.environ.get(API_KEY_VARIABLE) or None


def offline_environment() -> dict[str, str]:
    """The variables that keep libraries from calling out, for child processes; values set by the operator win."""
    return {name: os.environ.get(name, value) for name, value in _QUIET.items()}


def silence_telemetry() -> None:
    """Keep this process's libraries from calling out; to be called before they are imported."""
    os.environ.update(offline_environment())


def admit_equal_gpu_numbers() -> None:
    """Let ranks share symmetric memory that each see one GPU of their node alone, all as number 0."""
    os.environ.setdefault("TORCH_SYMM_MEM_ALLOW_OVERLAPPING_DEVICES", "1")


def use_network_interface(name: str) -> None:
    """Let the ranks of a replica talk over this interface, unless the operator has chosen one."""
    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(variable, name)
