"""The headers of safetensors files: 8 bytes with the length of a JSON object, little-endian, then the object.

Source: the format's description at https://github.com/huggingface/safetensors.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from llama4coder.errors import CheckpointError
from llama4coder.inspection.files import TensorHeader
from llama4coder.tokenizer.files import read_json

_INDEX_FILE = "model.safetensors.index.json"
_MOST_BYTES = 100_000_000  # the format's own limit, so that a file of another kind is not read whole


def read_headers(folder: Path) -> tuple[TensorHeader, ...]:
    """Every tensor of a folder once; of an index that names missing files, those that are there.

    Raises:
        CheckpointError: a file is damaged.
    """
    found = {header.name: header for path in _files(folder) for header in _read_file(path)}
    return tuple(found.values())


def _files(folder: Path) -> list[Path]:
    """Those that the index names: beside them some models have all weights once more in one file."""
    shards = read_json(folder / _INDEX_FILE).get("weight_map")
    if isinstance(shards, dict):
        named = (folder / str(name) for name in sorted(set(shards.values())))
        return [path for path in named if path.is_file()]
    return sorted(folder.glob("*.safetensors"))


def _read_file(path: Path) -> Iterator[TensorHeader]:
    try:
        entries = _read_object(path)
        for name, entry in entries.items():
            if name != "__metadata__":
                first, last = entry["data_offsets"]
                yield TensorHeader(name, str(entry["dtype"]), math.prod(entry["shape"]), last - first)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: its header is not that of a safetensors file") from error


def _read_object(path: Path) -> Mapping[str, Mapping[str, list[int]]]:
    """The header as it stands; `ValueError` and the like if it is none."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MOST_BYTES:
            raise ValueError(length)
        entries: Mapping[str, Mapping[str, list[int]]] = json.loads(file.read(length))
    return entries
