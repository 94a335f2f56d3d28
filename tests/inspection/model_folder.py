"""Model folders whose tensors are nothing but headers."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

LLAMA = {
    "model_type": "llama",
    "vocab_size": 402,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rope_theta": 500000.0,
}

_BYTES = {"F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "U8": 1, "I8": 1, "I32": 4}
Tensors = Mapping[str, tuple[str, Sequence[int]]]  # dtype and shape by name


def write_config(folder: Path, **changes: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(LLAMA | changes), encoding="utf-8")
    return folder


def write_tensors(path: Path, tensors: Tensors) -> None:
    """A file of zeros."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    first = 0
    for name, (dtype, shape) in tensors.items():
        last = first + math.prod(shape) * _BYTES[dtype]
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [first, last]}
        first = last
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(first))
