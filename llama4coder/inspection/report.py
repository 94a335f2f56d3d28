"""Everything that `llama4coder inspect` tells of a model."""

from dataclasses import dataclass
from pathlib import Path

from llama4coder.checkpoint.embedded import locate_embedded
from llama4coder.checkpoint.folder import EMBEDDED
from llama4coder.config import DeploymentConfig
from llama4coder.errors import CheckpointError
from llama4coder.inspection.files import ModelFiles, Source
from llama4coder.inspection.folder_files import read_folder
from llama4coder.inspection.gguf_files import read_gguf
from llama4coder.inspection.licence import Licence, read_licence
from llama4coder.inspection.parameters import Parameters, count_parameters
from llama4coder.inspection.positions import Positions, read_positions
from llama4coder.inspection.quantisation import Quantisation, read_quantisation
from llama4coder.inspection.sizes import Sizes, sizes_of
from llama4coder.inspection.template import TemplateFacts, read_template
from llama4coder.inspection.verdict import Backend, Verdict, judge, refusal_here
from llama4coder.inspection.vocabulary import Vocabulary, read_vocabulary
from llama4coder.machine import Machine


@dataclass(frozen=True, slots=True)
class Inspection:
    """A model by its headers and settings; None for what its files do not say."""

    path: str
    source: Source
    family: str  # `model_type`, or a GGUF file's architecture
    parameters: Parameters
    quantisation: Quantisation | None  # None for weights in floating point of 16 bits or more
    positions: Positions
    vocabulary: Vocabulary | None
    template: TemplateFacts | None
    licence: Licence
    sizes: Sizes | None  # None where the engine does not know the architecture
    is_served: bool  # here, with default settings
    reason: str | None  # why not
    backend: Backend | None  # that serves it, or could elsewhere or with other settings


def inspect_model(path: str, machine: Machine) -> Inspection:
    """Look at a model folder, a `.gguf` file or the embedded model.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    files = read_model(path)
    quantisation = read_quantisation(files)
    verdict = judge(files, machine)
    shape = verdict.shape
    return Inspection(
        path=str(files.path),
        source=files.source,
        family=str(files.config.get("model_type", "unknown")),
        parameters=count_parameters(files.tensors, quantisation),
        quantisation=quantisation,
        positions=read_positions(files, shape),
        vocabulary=None if files.tokens is None else read_vocabulary(files.tokens),
        template=None if files.template is None else read_template(files.template),
        licence=read_licence(files.licence),
        sizes=None if shape is None else sizes_of(shape, lambda config: _refusal(config, files, verdict, machine)),
        is_served=verdict.is_served,
        reason=verdict.reason,
        backend=verdict.backend,
    )


def _refusal(config: DeploymentConfig, files: ModelFiles, verdict: Verdict, machine: Machine) -> str | None:
    """What the engine cannot load it serves in no format."""
    if verdict.shape is None or verdict.backend is not Backend.ENGINE:
        return verdict.reason
    return refusal_here(config, files, verdict.shape, machine)


def read_model(path: str) -> ModelFiles:
    """What `path` means, by the rules of `model.path`, without converting anything.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    if path == EMBEDDED:
        return read_gguf(locate_embedded().path)
    place = Path(path).expanduser().absolute()
    if place.is_dir():
        return read_folder(place)
    if not place.is_file():
        raise CheckpointError(f"{place} does not exist; inspect a model folder, a .gguf file or `{EMBEDDED}`")
    return read_gguf(place)
