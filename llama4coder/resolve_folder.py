"""From what the operator wrote and a checkpoint's folder to what will run."""

import logging
from pathlib import Path

from llama4coder.checkpoint.stored_quant import read_stored_quant
from llama4coder.config import DeploymentConfig
from llama4coder.machine import Machine
from llama4coder.resolve import context_note, resolve
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import read_shape

_log = logging.getLogger(__name__)


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
