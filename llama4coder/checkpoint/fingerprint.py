"""What tells two configurations apart that would answer differently."""

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from llama4coder.resolved import ResolvedConfig
from llama4coder.types import Fingerprint

_FILES = ("config.json", "tokenizer.json")
_NUM_SAMPLES = 16  # of each file of weights; those of fine-tuned models differ everywhere
_SAMPLE_BYTES = 4096
_DIGEST_BYTES = 8
_PROGRAMS = ("llama4coder", "torch")  # whose sums may be rounded otherwise in another version


def fingerprint(config: ResolvedConfig) -> Fingerprint:
    """That of a configuration's answers, from samples of its files."""
    model, engine = config.model, config.engine
    numerics = {
        "model": model.model_dump(include={"dtype", "quant", "quant_exclude", "rope_scaling"}),
        "engine": engine.model_dump(include={"device", "heads_shards", "kv_shards", "kv_format", "block_bounds"}),
        "programs": [_version(name) for name in _PROGRAMS],
    }
    return Fingerprint(_digest_folder(Path(model.path)), _digest(json.dumps(numerics, sort_keys=True).encode()))


def _digest_folder(folder: Path) -> str:
    contents = [(folder / name).read_bytes() for name in _FILES]
    samples = [_samples(file) for file in sorted(folder.glob("*.safetensors"))]
    return _digest(b"".join(_digest(content).encode() for content in (*contents, *samples)))


def _samples(file: Path) -> bytes:
    """Its size, and what lies at equal distances from its first byte to its last."""
    num_bytes = file.stat().st_size
    with file.open("rb") as opened:
        found = [str(num_bytes).encode()]
        for number in range(_NUM_SAMPLES):
            opened.seek(number * max(0, num_bytes - _SAMPLE_BYTES) // (_NUM_SAMPLES - 1))
            found.append(opened.read(_SAMPLE_BYTES))
    return b"".join(found)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:  # run from its source
        return package
