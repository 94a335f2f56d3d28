"""What can be read of a model without its weights, be it a folder or a GGUF file."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Source(StrEnum):
    """What a model comes in."""

    FOLDER = "folder"  # safetensors with config.json
    GGUF = "gguf"


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """One tensor as its file describes it."""

    name: str
    dtype: str  # in the file's own words: BF16, F8_E4M3, Q4_K
    num_elements: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class TokenFiles:
    """The vocabulary, and the tokens that begin and end a text."""

    pieces: frozenset[str]
    bos: str | None
    eos: tuple[str, ...]
    adds_bos: bool  # to a raw prompt


@dataclass(frozen=True, slots=True)
class LicenceFiles:
    """What says how a model may be used."""

    texts: Mapping[str, str]  # by file name
    declared: str | None  # the identifier in the front matter of README.md, or in a GGUF file


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Everything that the other modules look at."""

    path: Path
    source: Source
    config: Mapping[str, object]  # config.json, or the same of a GGUF file as far as it says so
    tensors: tuple[TensorHeader, ...]
    tokens: TokenFiles | None  # None without tokenizer.json
    template: str | None  # the chat template's own text
    licence: LicenceFiles
    refusal: str | None  # why the engine cannot load these files, if it cannot

    def setting(self, *keys: str) -> object:
        """The first of these that config.json has, for models that see images in their `text_config`."""
        text = self.config.get("text_config")
        for source in (self.config, text if isinstance(text, dict) else {}):
            for key in keys:
                if source.get(key) is not None:
                    return source[key]
        return None

    def count(self, *keys: str) -> int | None:
        """`setting` if it is a positive whole number."""
        value = self.setting(*keys)
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
