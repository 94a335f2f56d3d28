"""From the configured model path to a folder that holds all it needs."""

from pathlib import Path

from llama4coder.checkpoint.converted import ensure_converted
from llama4coder.checkpoint.embedded import ensure_embedded
from llama4coder.checkpoint.links import check_links
from llama4coder.checkpoint.weight_files import INDEX_FILE, no_safetensors
from llama4coder.errors import CheckpointError
from llama4coder.progress import Progress
from llama4coder.tokenizer.files import read_json

EMBEDDED = "embedded"
_GGUF_SUFFIX = ".gguf"


def find_checkpoint(config_path: str, cache_dir: Path, progress: Progress) -> Path:
    """The model folder meant by `model.path`; converts a GGUF file or the embedded model at the first time.

    Raises `CheckpointError` naming what is missing, `ConfigError` if the cache cannot be written.
    """
    if config_path == EMBEDDED:
        return ensure_embedded(cache_dir, progress)
    folder = Path(source_of(config_path))
    if folder.suffix.lower() == _GGUF_SUFFIX and not folder.is_dir():
        return ensure_converted(folder, cache_dir, progress)
    if not folder.is_dir():
        raise CheckpointError(
            f"the model folder {folder} does not exist; "
            f"set model.path to a folder, a {_GGUF_SUFFIX} file or `{EMBEDDED}`"
        )
    check_folder(folder)
    return folder


def source_of(config_path: str) -> str:
    """The same model for processes that work in other folders."""
    return config_path if config_path == EMBEDDED else str(Path(config_path).expanduser().absolute())


def check_folder(folder: Path) -> None:
    """Raise `CheckpointError` naming the first file that a model folder lacks."""
    check_links(folder)
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise CheckpointError(f"the model folder {folder} has no {name}")
    _check_weights(folder)


def _check_weights(folder: Path) -> None:
    shards = read_json(folder / INDEX_FILE).get("weight_map")
    if isinstance(shards, dict):
        missing = sorted({str(name) for name in shards.values()} - {path.name for path in folder.iterdir()})
        if missing:
            raise CheckpointError(f"the model folder {folder} has no {missing[0]}, which {INDEX_FILE} names")
    elif not any(folder.glob("*.safetensors")):
        raise no_safetensors(folder)
