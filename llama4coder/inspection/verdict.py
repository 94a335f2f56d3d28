"""Whether a model would be served on this machine, and if not, why, and by what else it could be."""

from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from llama4coder.checkpoint.quant_settings import read_quant_settings
from llama4coder.checkpoint.stored_quant import read_stored_quant
from llama4coder.config import DeploymentConfig
from llama4coder.errors import CheckpointError, ConfigError
from llama4coder.inspection.files import ModelFiles, Source
from llama4coder.machine import Machine
from llama4coder.resolve import resolve
from llama4coder.shape import ModelShape, shape_of


class Backend(StrEnum):
    """What runs a model."""

    ENGINE = "engine"  # llama4coder's own
    TRANSFORMERS = "transformers"  # Hugging Face's library and its own server


@dataclass(frozen=True, slots=True)
class Verdict:
    """With default settings."""

    is_served: bool
    reason: str | None  # why not
    backend: Backend | None  # that serves it, or could elsewhere or with other settings; None if none is known
    shape: ModelShape | None  # None of models that the engine does not know


def judge(files: ModelFiles, machine: Machine) -> Verdict:
    """First the files and the architecture, then the machine."""
    try:
        shape = shape_of(files.config, files.path)
    except CheckpointError as error:
        reason = files.refusal if files.source is Source.GGUF else None
        return Verdict(False, reason or str(error), _other_backend(files), None)
    if files.source is Source.FOLDER:
        try:
            read_quant_settings(files.path)
        except CheckpointError as error:
            return Verdict(False, str(error), _other_backend(files), shape)
    if files.refusal is not None:
        return Verdict(False, files.refusal, None, shape)
    reason = refusal_here(DeploymentConfig(), files, shape, machine)
    return Verdict(reason is None, reason, Backend.ENGINE, shape)


def refusal_here(config: DeploymentConfig, files: ModelFiles, shape: ModelShape, machine: Machine) -> str | None:
    """Why this machine would not serve the model so; None if it would."""
    try:
        stored = read_stored_quant(files.path) if files.source is Source.FOLDER else None
        resolve(config, files.path, shape, machine, stored)
    except ConfigError as error:
        return str(error)
    return None


def _other_backend(files: ModelFiles) -> Backend | None:
    """transformers, if the installed one has the architecture; code that comes with a model is never run."""
    spec = find_spec("transformers")
    model_type = files.config.get("model_type")
    if spec is None or spec.origin is None or not isinstance(model_type, str) or files.source is Source.GGUF:
        return None
    name = model_type.removesuffix("_text").replace("-", "_")
    folder = Path(spec.origin).parent / "models" / name
    return Backend.TRANSFORMERS if name.isidentifier() and folder.is_dir() else None
