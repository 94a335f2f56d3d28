"""From what the operator wrote and a checkpoint to what will run."""

import logging
from pathlib import Path

from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.checkpoint.stored_quant import read_stored_quant
from llama4coder.config import DeploymentConfig
from llama4coder.env import cache_dir
from llama4coder.machine import Machine
from llama4coder.progress import NullProgress, Progress
from llama4coder.resolve import context_note, resolve
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import read_shape

_log = logging.getLogger(__name__)


def resolve_on(machine: Machine, config: DeploymentConfig, progress: Progress) -> ResolvedConfig:
    """Find the checkpoint, converting it if need be, and derive every `auto` for ranks on such machines; raises what
    `resolve_folder` does."""
    return resolve_folder(config, find_checkpoint(config.model.path, cache_dir(), progress), machine)


def on_this_machine(config: ResolvedConfig) -> ResolvedConfig:
    """The same with the model's folder as it is here, converting it if need be: machines do not share their caches.

    Raises:
        CheckpointError: it is not here.
        ConfigError: the cache cannot be written.
    """
    folder = find_checkpoint(config.model.source, cache_dir(), NullProgress())
    return config.model_copy(update={"model": config.model.model_copy(update={"path": str(folder)})})


def resolve_folder(config: DeploymentConfig, folder: Path, machine: Machine) -> ResolvedConfig:
    """Derive every `auto` for what lies in `folder`, and log a warning where another context than its own is served.

    Raises:
        CheckpointError: the folder's settings cannot be read.
        ConfigError, NotEnoughMemory: see `resolve`.
    """
    shape = read_shape(folder, config.model.rope_scaling)
    resolved = resolve(config, folder, shape, machine, read_stored_quant(folder))
    note = context_note(resolved, shape)
    if note is not None:
        _log.warning(note)
    return resolved
