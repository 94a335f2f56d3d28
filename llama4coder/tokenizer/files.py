"""The JSON files of a model folder that say something about its tokens."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llama4coder.errors import CheckpointError


def read_json(path: Path) -> dict[str, object]:
    """The object in a JSON file; empty where there is no such file, `CheckpointError` where it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"cannot read {path}: it is not a JSON object")
    return content


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """What tokenizer_config.json, generation_config.json and config.json say; any of them may be missing."""

    tokenizer: Mapping[str, object]
    generation: Mapping[str, object]
    model: Mapping[str, object]

    @classmethod
    def from_folder(cls, folder: Path) -> "TokenSettings":
        return cls(
            tokenizer=read_json(folder / "tokenizer_config.json"),
            generation=read_json(folder / "generation_config.json"),
            model=read_json(folder / "config.json"),
        )

    def names_token(self, key: str) -> bool:
        """Whether tokenizer_config.json speaks of this special token; it may say that there is none."""
        return key in self.tokenizer

    def token(self, key: str) -> str | None:
        """The text of a special token such as `eos_token`, written as a string or as an object with `content`."""
        entry = self.tokenizer.get(key)
        content = entry.get("content") if isinstance(entry, dict) else entry
        return content if isinstance(content, str) else None

    def ids(self, key: str) -> list[int]:
        """The ids under `key`, one or a list, in generation_config.json and then in config.json."""
        values = [value for source in (self.generation, self.model) for value in _as_list(source.get(key))]
        return [value for value in values if isinstance(value, int) and not isinstance(value, bool)]


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]
