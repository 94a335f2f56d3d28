"""Which modules of a checkpoint are quantised: those whose tensors come with scales, whatever `config.json` says."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llama4coder.checkpoint.quant_settings import StoredKind, read_quant_settings
from llama4coder.checkpoint.weight_files import WeightFiles

ABSMAX = ".weight.absmax"
SCB = ".SCB"
SCALES = (".weight_scale", ".weight_scale_inv")
STATES = (".weight.quant_state.bitsandbytes__nf4", ".weight.quant_state.bitsandbytes__fp4")
MARKS = (ABSMAX, SCB, *SCALES, *STATES, ".weight.quant_map", ".weight.nested_absmax", ".weight.nested_quant_map")
"""What follows a module's name in those of the tensors that say what its quantised weight means."""

_MARKS: Mapping[StoredKind, tuple[str, ...]] = {
    StoredKind.BNB_4BIT: (ABSMAX,),
    StoredKind.BNB_8BIT: (SCB,),
    StoredKind.FP8: SCALES,
}


@dataclass(frozen=True, slots=True)
class StoredQuant:
    """A quantised checkpoint."""

    kind: StoredKind
    modules: frozenset[str]  # that are quantised, such as `model.layers.0.mlp.down_proj`


def read_stored_quant(folder: Path) -> StoredQuant | None:
    """None where nothing is quantised.

    Raises:
        CheckpointError: config.json, or the names of the tensors, cannot be read, or the method is not known here.
    """
    settings = read_quant_settings(folder)
    if settings is None:
        return None
    names = WeightFiles.find(folder).file_of
    marks = _MARKS[settings.kind]
    modules = frozenset(name.removesuffix(mark) for name in names for mark in marks if name.endswith(mark))
    return StoredQuant(settings.kind, modules) if modules else None
