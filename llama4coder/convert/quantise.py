"""From a checkpoint folder to one whose matrices are in fewer bits."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llama4coder.checkpoint.checksums import MANIFESTS, write_checksums
from llama4coder.checkpoint.publish import new_folder
from llama4coder.checkpoint.quant_settings import read_quant_settings
from llama4coder.checkpoint.weight_files import INDEX_FILE, WeightFiles
from llama4coder.convert.forms import WeightForm
from llama4coder.convert.shards import MAX_SHARD_BYTES, ShardWriter
from llama4coder.errors import CheckpointError, ConfigError
from llama4coder.exclusions import HEAD, Exclusions, all_matrices
from llama4coder.kv.sizing import covers
from llama4coder.models.tensors import PLAIN, MappedTensors
from llama4coder.progress import Progress
from llama4coder.shape import MatrixShape, ModelShape, read_shape
from llama4coder.tokenizer.files import read_json

_COPIED = ("*.json", "*.jinja", "*.txt", "*.model", "LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*", "README*")
_REPLACED = ("config.json", INDEX_FILE, *MANIFESTS)


@dataclass(frozen=True, slots=True)
class Conversion:
    """What to write."""

    form: WeightForm
    exclusions: Exclusions
    max_shard_bytes: int = MAX_SHARD_BYTES


def quantise_folder(source: Path, target: Path, conversion: Conversion, progress: Progress) -> None:
    """Write `source` into the new folder `target`, which appears when it is complete.

    One matrix at a time is in memory. Embedding and head stay as they are, and so does what the form cannot have.

    Raises:
        CheckpointError: the source is damaged, or quantised already.
        ConfigError: the target exists, or an exclusion makes no sense.
        OSError: the disk says no.
    """
    if target.exists():
        raise ConfigError(f"{target} exists already; name a new folder")
    if read_quant_settings(source) is not None:
        raise CheckpointError(f"{source} is quantised already; rounding twice is worse: take what it was made of")
    shape = read_shape(source)
    conversion.exclusions.check("--exclude", shape.num_layers)
    tensors = MappedTensors(WeightFiles.find(source))
    chosen = _chosen(tensors, shape, conversion)
    with new_folder(target) as folder:
        _write_weights(tensors, folder, chosen, conversion, progress)
        _copy_others(source, folder)
        left_out = [module for modules in all_matrices(shape.num_layers) for module in modules if module not in chosen]
        _write_config(source, folder, conversion.form.settings(left_out))
        write_checksums(folder, progress)


def _chosen(tensors: MappedTensors, shape: ModelShape, conversion: Conversion) -> frozenset[str]:
    """The modules to quantise: whole matrices that the form can have."""
    chosen: set[str] = set()
    for modules in all_matrices(shape.num_layers):
        if modules == [HEAD]:
            continue
        sizes = [_size_of(tensors, f"{module}.weight") for module in modules]
        fits = all(covers(conversion.form.quant, size) for size in sizes)
        if fits and not any(map(conversion.exclusions.hold, modules)):
            chosen.update(modules)
    return frozenset(chosen)


def _size_of(tensors: MappedTensors, name: str) -> MatrixShape:
    tensor = tensors.peek(name)
    if tensor.dtype not in PLAIN or tensor.dim() != 2:
        raise tensors.wrong(name, f"{tensor.dtype} {list(tensor.shape)}", "a matrix in floating point")
    return MatrixShape(*tensor.shape)


def _write_weights(
    tensors: MappedTensors, folder: Path, chosen: frozenset[str], conversion: Conversion, progress: Progress
) -> None:
    names = sorted(tensors.names)
    progress.start("quantising weights", sum(tensors.peek(name).nbytes for name in names), "B")
    try:
        with ShardWriter(folder, conversion.max_shard_bytes) as writer:
            for name in names:
                tensor, module = tensors.peek(name), name.removesuffix(".weight")
                is_chosen = name != module and module in chosen
                writer.add(conversion.form.tensors(module, tensor) if is_chosen else {name: tensor})
                progress.advance(tensor.nbytes)
                tensors.close()
    finally:
        progress.finish()


def _copy_others(source: Path, folder: Path) -> None:
    """Tokenizer, generation settings and licences."""
    for pattern in _COPIED:
        for path in source.glob(pattern):
            if path.is_file() and path.name not in _REPLACED:
                shutil.copyfile(path, folder / path.name)


def _write_config(source: Path, folder: Path, settings: Mapping[str, object]) -> None:
    config = {**read_json(source / "config.json"), "quantization_config": settings}
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
