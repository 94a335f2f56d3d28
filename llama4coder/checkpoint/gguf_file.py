"""Reading a GGUF file: its settings by name and type, its tensors as they are stored."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from gguf import GGUFReader, ReaderTensor

from llama4coder.errors import CheckpointError

# What the reader raises for a file that is cut off or overwritten, depending on where it stumbles.
DAMAGE_ERRORS = (ValueError, LookupError, OverflowError, TypeError, MemoryError)


class GgufFile:
    """An open GGUF file. Every method raises `CheckpointError` for a damaged file, with what to do about it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._values: dict[str, object] = {}  # reading a vocabulary takes a second
        try:
            self._reader = GGUFReader(path)
            self.tensors: Mapping[str, ReaderTensor] = {tensor.name: tensor for tensor in self._reader.tensors}
        except OSError as error:
            raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
        except DAMAGE_ERRORS as error:
            raise self.damaged("it is cut off or not a GGUF file") from error

    def text(self, key: str) -> str:
        value = self._value(key)
        if not isinstance(value, str):
            raise self.damaged(f"{key} is not a text")
        return value

    def integer(self, key: str) -> int:
        value = self._value(key)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.damaged(f"{key} is not an integer")
        return value

    def optional_integer(self, key: str) -> int | None:
        return self.integer(key) if self.has(key) else None

    def number(self, key: str) -> float:
        """A float32 with its shortest decimal form: 1e-05, not 9.999999747378752e-06."""
        value = self._value(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.damaged(f"{key} is not a number")
        return float(str(np.float32(value)))

    def flag(self, key: str) -> bool:
        value = self._value(key)
        if not isinstance(value, bool):
            raise self.damaged(f"{key} is not true or false")
        return value

    def texts(self, key: str) -> list[str]:
        values = self._value(key)
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise self.damaged(f"{key} is not a list of texts")
        return values

    def integers(self, key: str) -> list[int]:
        values = self._value(key)
        if not isinstance(values, list) or not all(isinstance(value, int) for value in values):
            raise self.damaged(f"{key} is not a list of integers")
        return values

    def numbers(self, key: str) -> list[float]:
        values = self._value(key)
        if not isinstance(values, list) or not all(isinstance(value, float) for value in values):
            raise self.damaged(f"{key} is not a list of numbers")
        return values

    def has(self, key: str) -> bool:
        return key in self._reader.fields

    def damaged(self, reason: str) -> CheckpointError:
        return CheckpointError(f"{self.path} is damaged ({reason}); get the file again")

    def _value(self, key: str) -> object:
        if key not in self._values:
            self._values[key] = self._read_value(key)
        return self._values[key]

    def _read_value(self, key: str) -> object:
        field = self._reader.fields.get(key)
        if field is None:
            raise self.damaged(f"it does not say {key}")
        try:
            value: object = field.contents()
        except DAMAGE_ERRORS as error:
            raise self.damaged(f"{key} cannot be read") from error
        return value
