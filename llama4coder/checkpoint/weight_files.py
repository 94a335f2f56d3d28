"""Where each tensor of a checkpoint folder lies."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from llama4coder.checkpoint.links import check_links
from llama4coder.errors import CheckpointError

INDEX_FILE = "model.safetensors.index.json"

_PICKLES = ("*.bin", "*.pt", "*.pth")


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """Nothing but names is read."""

    folder: Path
    file_of: Mapping[str, str]  # tensor name -> file name

    @classmethod
    def find(cls, folder: Path) -> "WeightFiles":
        """Read the index, or the header of the only file.

        Raises:
            CheckpointError: no safetensors, a damaged index, or a file that lies outside the folder.
        """
        check_links(folder)
        index = folder / INDEX_FILE
        if index.exists():
            return cls(folder, _read_index(index))
        files = sorted(path.name for path in folder.glob("*.safetensors"))
        if not files:
            raise no_safetensors(folder)
        return cls(folder, {name: file for file in files for name in _tensor_names(folder / file)})


def no_safetensors(folder: Path) -> CheckpointError:
    """For a folder whose weights, if it has any, are of another kind."""
    pickled = any(path for pattern in _PICKLES for path in folder.glob(pattern))
    hint = "pickled weights are never opened: convert them to safetensors" if pickled else "no other weights are served"
    return CheckpointError(f"the model folder {folder} has no *.safetensors; {hint}")


def damaged(path: Path, error: Exception) -> CheckpointError:
    """For a file that safetensors cannot read."""
    return CheckpointError(f"{path} is damaged ({error}); copy or convert the model again")


def _read_index(index: Path) -> Mapping[str, str]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = {str(name): str(file) for name, file in weight_map.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} cannot be read: {error!r}") from error
    for file in set(files.values()):
        if Path(file).name != file:
            raise CheckpointError(f"{index} names {file!r}, which is not a file of this folder")
        if not (index.parent / file).is_file():
            raise CheckpointError(f"{index} names {file}, which is missing; copy the whole folder again")
    return files


def _tensor_names(path: Path) -> list[str]:
    try:
        with safe_open(path, framework="np") as opened:
            return list(opened.keys())
    except (OSError, SafetensorError) as error:
        raise damaged(path, error) from error
